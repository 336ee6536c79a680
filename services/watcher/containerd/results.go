package containerd

import (
	"fmt"
	"os"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// results is the folder of results of a sandbox, a tmpfs of its own.
type results struct {
	folder *os.File // one of the counters' folders, which close it
	free   uint64   // inodes when it was empty
}

// openResults finds the folder of results among those that the sandbox can write to.
func (b *box) openResults(folders []writable) error {
	for _, f := range folders {
		if f.path != sandbox.ResultsDir {
			continue
		}
		b.results = &results{folder: f.folder}
		var err error
		b.results.free, err = freeInodes(f.folder)
		return err
	}
	return nil
}

// Results implements sandbox.Sandbox.
func (b *box) Results() (*os.Root, error) {
	if b.results == nil {
		return nil, nil
	}
	if b.link.running() != nil {
		return nil, fmt.Errorf("results of sandbox %s: %w", b.spec.ID, sandbox.ErrBusy)
	}
	free, err := freeInodes(b.results.folder)
	if err != nil || free == b.results.free {
		return nil, err
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", b.results.folder.Fd()))
	if err != nil {
		return nil, fmt.Errorf("open the folder of results of sandbox %s: %w", b.spec.ID, err)
	}
	return root, nil
}
