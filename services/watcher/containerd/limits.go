package containerd

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func ownLimits() (rlimits, error) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return rlimits{}, fmt.Errorf("ask for the limit of open files: %w", err)
	}
	return rlimits{openFiles: files.Max}, nil
}
