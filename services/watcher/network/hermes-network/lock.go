package main

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// user is a user and group of the process's own namespace that is not its root.
const user = 1

// maxFiles bounds the sockets: one for each connection, and a few.
const maxFiles = 1024

// lockUp makes the empty folder everything there is, and gives up the capabilities that it has in
// its own user namespace; no exec can bring them back.
func lockUp(folder string) error {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("ask for the limit of open files: %w", err)
	}
	files.Max = min(files.Max, maxFiles)
	files.Cur = files.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("limit open files: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	if err := syscall.Chroot(folder); err != nil {
		return fmt.Errorf("go into %s: %w", folder, err)
	}
	if err := syscall.Chdir("/"); err != nil {
		return err
	}
	if err := syscall.Setgid(user); err != nil {
		return fmt.Errorf("change the group: %w", err)
	}
	if err := syscall.Setuid(user); err != nil { // and with it all capabilities, on every thread
		return fmt.Errorf("change the user: %w", err)
	}
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("forbid new privileges: %w", errno)
	}
	return nil
}
