package containerd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// writable is a writable folder of a sandbox, held open: it can be asked how full it is when nothing of
// the sandbox is left.
type writable struct {
	path   string // inside the sandbox
	folder *os.File
}

// writablePaths are all of them, inside the sandbox.
func writablePaths(spec sandbox.Spec) []string {
	paths := []string{"/tmp", "/dev/shm"}
	if spec.Kind == sandbox.Build {
		paths = append([]string{sandbox.FunctionDir}, paths...)
	}
	if spec.Limits.ResultsBytes > 0 {
		paths = append(paths, sandbox.ResultsDir)
	}
	return paths
}

// openWritables opens what a sandbox can write to as its init, the process pid, sees it. Nothing of the
// user's may have run there yet.
func openWritables(pid int, spec sandbox.Spec) (folders []writable, err error) {
	for _, path := range writablePaths(spec) {
		folder, err := os.OpenFile(fmt.Sprintf("/proc/%d/root%s", pid, path), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open %s of the sandbox: %w", path, err), closeWritables(folders))
		}
		folders = append(folders, writable{path: path, folder: folder})
	}
	return folders, nil
}

func closeWritables(folders []writable) error {
	var errs []error
	for _, d := range folders {
		errs = append(errs, d.folder.Close())
	}
	return errors.Join(errs...)
}

// fullOf is the first that has no room left.
func fullOf(folders []writable) sandbox.Full {
	for _, d := range folders {
		var s unix.Statfs_t
		if unix.Fstatfs(int(d.folder.Fd()), &s) != nil {
			continue
		}
		switch {
		case s.Blocks > 0 && s.Bfree == 0:
			return sandbox.Full{Path: d.path, Bytes: int64(s.Blocks) * s.Bsize}
		case s.Files > 0 && s.Ffree == 0:
			return sandbox.Full{Path: d.path, Files: int64(s.Files)}
		}
	}
	return sandbox.Full{}
}
