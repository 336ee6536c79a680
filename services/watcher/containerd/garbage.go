package containerd

import (
	"context"
	"errors"
	"sync"
)

// garbage are containers whose removal failed, because containerd did not answer or a process did not
// die. They keep their id ranges, and are tried again before the next sandbox is made and at the end.
type garbage struct {
	mu   sync.Mutex
	list []container
}

func (g *garbage) add(c container) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.list = append(g.list, c)
}

// collect removes what it can. Of several callers one does it and the others go on at once.
func (g *garbage) collect(ctx context.Context, remove func(context.Context, container) error) error {
	if !g.mu.TryLock() {
		return nil
	}
	defer g.mu.Unlock()
	var left []container
	var errs []error
	for _, c := range g.list {
		if err := remove(ctx, c); err != nil {
			left, errs = append(left, c), append(errs, err)
		}
	}
	g.list = left
	return errors.Join(errs...)
}
