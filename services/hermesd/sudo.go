package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// The folders below a home where the contexts and copies of their keys are saved. They are
// ~/.config whatever XDG_CONFIG_HOME is there: sudo does not pass it on.
const (
	contextDir = ".config/nats/context"
	keyDir     = ".config/hermes/keys"
)

// person is who called sudo.
type person struct {
	name, home string
	uid, gid   int
	groups     []int
}

// sudoer returns who called sudo; nil if nobody did, or root itself.
func sudoer() (*person, error) {
	name := os.Getenv("SUDO_USER")
	if name == "" || os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("find the user %q of SUDO_USER: %w", name, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("find the groups of %s: %w", name, err)
	}
	p := &person{name: name, home: u.HomeDir}
	for _, id := range ids {
		gid, err := strconv.Atoi(id)
		if err != nil {
			return nil, fmt.Errorf("the group %q of %s is no number", id, name)
		}
		p.groups = append(p.groups, gid)
	}
	p.uid, err = strconv.Atoi(u.Uid)
	var gidErr error
	p.gid, gidErr = strconv.Atoi(u.Gid)
	if err := errors.Join(err, gidErr); err != nil {
		return nil, fmt.Errorf("the ids of %s are no numbers: %w", name, err)
	}
	if p.uid == 0 {
		return nil, nil
	}
	return p, nil
}

// contextsFor returns how the contexts are saved where a person called sudo: for them, and for root
// as well, unless root's environment leads into that person's home. An instance goes on without
// contexts in a home that cannot be written.
func contextsFor(p *person) func([]instance.Context, *slog.Logger) error {
	return func(contexts []instance.Context, log *slog.Logger) error {
		if !isBelow(p.home, os.Getenv("HOME")) && !isBelow(p.home, os.Getenv("XDG_CONFIG_HOME")) {
			if err := instance.SaveContexts(contexts, log); err != nil {
				return err
			}
		}
		for _, c := range contexts {
			file, err := p.save(c)
			if err != nil {
				log.Warn("the context cannot be saved for who called sudo: use it as root", "context", c.Name, "user", p.name, "err", err)
				continue
			}
			log.Info("saved the context for who called sudo", "context", c.Name, "user", p.name, "file", file)
		}
		return nil
	}
}

func isBelow(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return path != "" && err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// save writes a context and a copy of its key below the person's home, as that person: what they
// could not write themselves, by links or otherwise, is not written.
func (p *person) save(c instance.Context) (file string, err error) {
	seed, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return "", fmt.Errorf("read the key: %w", err)
	}
	defer clear(seed)
	keyFile := filepath.Join(keyDir, c.Name+".nk")
	c.KeyFile = filepath.Join(p.home, keyFile)
	raw, err := c.JSON()
	if err != nil {
		return "", err
	}
	file = filepath.Join(contextDir, c.Name+".json")
	err = p.do(func() error {
		home, err := os.OpenRoot(p.home)
		if err != nil {
			return err
		}
		defer home.Close()
		if err := replaceFile(home, keyFile, seed); err != nil {
			return err
		}
		return replaceFile(home, file, raw)
	})
	return filepath.Join(p.home, file), err
}

// replaceFile makes a file with mode 0600, and never leaves half of one.
func replaceFile(root *os.Root, name string, content []byte) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	tmp := name + ".new"
	if err := root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, root.Remove(tmp))
	}
	return root.Rename(tmp, name)
}

// do runs work on files with the person's rights: the kernel checks this thread's accesses as
// theirs, and what it makes is theirs. Where root's identity does not come back, the thread is
// not used again.
func (p *person) do(work func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		before, err := unix.Getgroups()
		if err == nil {
			err = setFileIdentity(p.uid, p.gid, p.groups)
		}
		if err == nil {
			err = work()
		}
		if setFileIdentity(os.Geteuid(), os.Getegid(), before) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// setFileIdentity changes as whom this thread, and no other, works on files.
func setFileIdentity(uid, gid int, groups []int) error {
	if err := setThreadGroups(groups); err != nil {
		return fmt.Errorf("take the groups of uid %d: %w", uid, err)
	}
	// These calls do not fail: they return who it was before. -1 only asks.
	_, _ = unix.SetfsgidRetGid(gid)
	_, _ = unix.SetfsuidRetUid(uid)
	isGID, _ := unix.SetfsgidRetGid(-1)
	isUID, _ := unix.SetfsuidRetUid(-1)
	if isUID != uid || isGID != gid {
		return fmt.Errorf("work on files as uid %d and gid %d: not permitted", uid, gid)
	}
	return nil
}

// setThreadGroups is setgroups for this thread only; unix.Setgroups is for all of them.
func setThreadGroups(groups []int) error {
	ids := make([]uint32, len(groups)+1) // never empty, so that its address can be taken
	for i, id := range groups {
		ids[i] = uint32(id)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&ids[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
