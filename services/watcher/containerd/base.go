package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/base"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// Base host is the machine's own /usr, read-only: its compilers and its CUDA toolkit, and nothing of
// its /root, /home, /var or secrets. The root of any other base is given, with all that is mounted over
// in it: package base.

// checkBase says why a sandbox cannot stand on what its spec says.
func checkBase(spec sandbox.Spec) error {
	if spec.Base == events.HostBase {
		return nil
	}
	if info, err := os.Stat(spec.Root); spec.Root == "" || err != nil || !info.IsDir() {
		return fmt.Errorf("base %q: %w: its root %q is no folder", spec.Base, sandbox.ErrBase, spec.Root)
	}
	return nil
}

// rootOf returns the root folder of a sandbox, and what of the machine is bound into it.
func (r *Runtime) rootOf(spec sandbox.Spec) (root string, binds []string) {
	if spec.Base == events.HostBase {
		return r.hostRoot(), r.base
	}
	return spec.Root, nil
}

// mergedLinks are folders that a distribution with a merged /usr has as links into it.
func mergedLinks() []string { return []string{"/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin"} }

// sharedEtc are the parts of /etc that programs of /usr need and everybody may know: where the
// linker finds libraries, what the alternatives system chose, and who signs for servers.
func sharedEtc() []string {
	return []string{"/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ssl/certs"}
}

// hostBinds are the host paths that the base consists of, as this machine has them.
func hostBinds() []string {
	binds := []string{"/usr"}
	for _, path := range mergedLinks() {
		if info, err := os.Lstat(path); err == nil && info.IsDir() {
			binds = append(binds, path)
		}
	}
	for _, path := range sharedEtc() {
		if _, err := os.Stat(path); err == nil {
			binds = append(binds, path)
		}
	}
	return binds
}

// prepareHostBase makes the root folder: empty but for mount points, links and an /etc of our own.
// It may be called again on a folder that is in use.
func prepareHostBase(root string, binds []string) error {
	folders := []string{"/dev", "/etc", "/function", "/proc", "/sys", "/tmp", initDir}
	for _, folder := range folders {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			return fmt.Errorf("prepare base host: %w", err)
		}
	}
	if err := errors.Join(copyLinks(root), makeMountPoints(root, binds), writeEtc(root)); err != nil {
		return fmt.Errorf("prepare base host in %s: %w", root, err)
	}
	return nil
}

func copyLinks(root string) error {
	for _, path := range append(mergedLinks(), "/etc/localtime") {
		target, err := os.Readlink(path)
		if err != nil {
			continue // a folder, or not on this machine
		}
		if err := replaceLink(target, filepath.Join(root, path)); err != nil {
			return err
		}
	}
	return replaceLink("/proc/mounts", filepath.Join(root, "/etc/mtab"))
}

func replaceLink(target, path string) error {
	if now, err := os.Readlink(path); err == nil && now == target {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, path)
}

// makeMountPoints makes a folder for each bound folder and an empty file for each bound file: the
// container's own root user could not make them in a folder that belongs to ours.
func makeMountPoints(root string, binds []string) error {
	for _, path := range binds {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		point := filepath.Join(root, path)
		if info.IsDir() {
			err = os.MkdirAll(point, 0o755)
		} else {
			err = emptyFile(point)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(emptyFile(filepath.Join(root, initPath)), emptyFile(filepath.Join(root, socketPath)))
}

func emptyFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

func writeEtc(root string) error {
	files := base.Etc()
	files["resolv.conf"] = "" // for a sandbox with a network its own is mounted here
	for name, text := range files {
		if err := writeChanged(filepath.Join(root, "etc", name), text); err != nil {
			return err
		}
	}
	return nil
}

// writeChanged leaves a file alone that says the same already: sandboxes may be reading it.
func writeChanged(path, text string) error {
	if now, err := os.ReadFile(path); err == nil && string(now) == text {
		return nil
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
