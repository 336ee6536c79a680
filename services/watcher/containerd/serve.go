package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/cmd/containerd/server"
	"github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/version"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// ownMountsEnv is set by Supervise: this process has a mount namespace of its own, and may change
// how mounts spread in it.
const ownMountsEnv = "HERMES_OWN_MOUNT_NAMESPACE"

// Address is the socket of the containerd that Serve runs in dir.
func Address(dir string) string { return filepath.Join(socketsDir(dir), "containerd.sock") }

// socketsDir is inside dir where that is short enough: a socket's path has at most 107 bytes.
func socketsDir(dir string) string {
	const longest = 80 // leaves room for containerd.sock.ttrpc
	if own := filepath.Join(dir, "s"); len(own) <= longest {
		return own
	}
	sum := sha256.Sum256([]byte(dir))
	return "/run/hermes/s-" + hex.EncodeToString(sum[:6])
}

// Serve runs containerd in this process until the context ends or SIGTERM comes: with everything it
// keeps under dir, without network, images or plugins that a sandbox does not need. Its containers
// end with it, unless it is killed. One Serve runs in a dir; a second waits for the first to end.
func Serve(ctx context.Context, dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("containerd: directory %q: want an absolute path", dir)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if os.Getenv(ownMountsEnv) != "" {
		// Mounts of the host appear here, those of here never there.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return fmt.Errorf("containerd: separate its mounts: %w", err)
		}
	}
	for _, folder := range []string{dir, socketsDir(dir)} {
		if err := os.MkdirAll(folder, 0o711); err != nil {
			return fmt.Errorf("containerd: make its folder: %w", err)
		}
	}
	// The inits of containers become this process's children when runc ends: task.go.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("containerd: become the reaper of its containers: %w", err)
	}
	lock, err := waitForLock(ctx, filepath.Join(dir, serveLock))
	if err != nil {
		return err
	}
	defer lock.Close()
	return serve(ctx, dir)
}

const serveLock = "serve.lock"

// waitForLock takes an exclusive lock as soon as its holder lets go.
func waitForLock(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("containerd: open lock: %w", err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("containerd: lock %s: %w", path, err), f.Close())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("containerd: another one holds %s: %w", path, ctx.Err()), f.Close())
		}
	}
}

func serve(ctx context.Context, dir string) error {
	_ = log.SetLevel("error") // the level exists
	settings := configuration(dir)
	if err := server.CreateTopLevelDirectories(settings); err != nil {
		return fmt.Errorf("containerd: make its directories: %w", err)
	}
	running, err := server.New(ctx, settings)
	if err != nil {
		return fmt.Errorf("containerd: load: %w", err)
	}
	if err := running.Start(ctx); err != nil {
		return fmt.Errorf("containerd: start: %w", err)
	}
	<-ctx.Done()
	running.Stop() // and all containers: tasks.Close
	return nil
}

func configuration(dir string) *config.Config {
	address := Address(dir)
	return &config.Config{
		Version: version.ConfigVersion,
		Root:    filepath.Join(dir, "root"),
		State:   filepath.Join(dir, "state"),
		TempDir: filepath.Join(dir, "tmp"),
		Plugins: map[string]any{
			"io.containerd.server.v1.grpc":  map[string]any{"address": address},
			"io.containerd.server.v1.ttrpc": map[string]any{"address": address + ".ttrpc"},
			// What is written here dies with hermesd or with the machine anyway (see Supervise), so
			// that waiting for the disk, 2 ms a write, would buy nothing.
			"io.containerd.metadata.v1.bolt": map[string]any{"no_sync": true},
			"io.containerd.gc.v1.scheduler":  map[string]any{"startup_delay": "10s"},
		},
		RequiredPlugins: []string{
			"io.containerd.runtime.v2.task", "io.containerd.grpc.v1.containers", "io.containerd.grpc.v1.tasks",
			"io.containerd.server.v1.grpc", "io.containerd.server.v1.ttrpc",
		},
	}
}
