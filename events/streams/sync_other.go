//go:build !linux

package streams

import "errors"

// syncFilesystem is only needed where hermesd runs.
func syncFilesystem(string) error {
	return errors.New("syncing a filesystem is supported on Linux only")
}
