package streams

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncFilesystem brings everything written to the filesystem of dir to disk.
func syncFilesystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return unix.Syncfs(int(f.Fd()))
}
