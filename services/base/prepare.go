package base

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"
)

// Hostname is every sandbox's.
const Hostname = "sandbox"

// mountFolders and mountFiles are what a sandbox mounts over. They must be there: the container's own
// root user could not make them in a folder that belongs to ours.
func mountFolders() []string {
	return []string{"dev", "etc", "function", "proc", "sys", "tmp", ".hermes"}
}

func mountFiles() []string { return []string{".hermes/init", ".hermes/socket"} }

// Etc are files of /etc that a root filesystem has when it brings none of its own, by name.
func Etc() map[string]string {
	return map[string]string{
		"group":         "root:x:0:\nnogroup:x:65534:\n",
		"hostname":      Hostname + "\n",
		"hosts":         "127.0.0.1 localhost " + Hostname + "\n::1 localhost\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
		"passwd":        "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n",
	}
}

// prepare makes what is missing, and replaces what stands in its place: a link would lead a mount
// elsewhere.
func (t *Tree) prepare() error {
	for _, folder := range mountFolders() {
		if err := t.want(folder, fs.ModeDir, func() error { return t.root.Mkdir(folder, 0o755) }); err != nil {
			return err
		}
	}
	files := Etc()
	files["resolv.conf"] = ""
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := t.wantFile(path.Join("etc", name), files[name]); err != nil {
			return err
		}
	}
	for _, name := range mountFiles() {
		if err := t.wantFile(name, ""); err != nil {
			return err
		}
	}
	return t.want("etc/mtab", fs.ModeSymlink, func() error { return t.root.Symlink("/proc/mounts", "etc/mtab") })
}

func (t *Tree) wantFile(name, text string) error {
	return t.want(name, 0, func() error {
		if err := t.root.WriteFile(name, []byte(text), 0o600); err != nil {
			return err
		}
		// The digest of a base must not say when it was made.
		epoch := time.Unix(0, 0)
		return errors.Join(t.root.Chtimes(name, epoch, epoch), t.root.Chmod(name, 0o444))
	})
}

// want makes an entry unless one of its kind is there.
func (t *Tree) want(name string, kind fs.FileMode, make func() error) error {
	info, err := t.root.Lstat(name)
	if err == nil && info.Mode().Type() == kind {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t.refused(name, err)
	}
	if err := t.root.RemoveAll(name); err != nil {
		return t.refused(name, err)
	}
	return t.refused(name, make())
}
