package backup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams"
)

// RestoreStreams makes the streams of a backup that was checked, on a server that has none of them.
// The history comes last: it goes on copying the log at once.
func RestoreStreams(ctx context.Context, nc *nats.Conn, dir string, m Manifest, progress func(Stream)) error {
	mgr, err := jsm.New(nc, jsm.WithTimeout(requestTimeout))
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	all := slices.Clone(m.Streams)
	slices.SortStableFunc(all, func(a, b Stream) int {
		return historyLast(a.Name) - historyLast(b.Name)
	})
	for _, one := range all {
		from := filepath.Join(dir, streamsDir, one.Name)
		meta, err := readMeta(from)
		if err != nil {
			return err
		}
		meta.Config.Replicas = 1
		allow(&meta.Config)
		_, state, err := mgr.RestoreSnapshotFromDirectory(ctx, one.Name, from, jsm.RestoreConfiguration(meta.Config))
		if err != nil {
			return fmt.Errorf("restore the stream %s: %w", one.Name, err)
		}
		if !shrinks(one.Name, meta) && state.Msgs < one.Messages {
			return fmt.Errorf("%w: the stream %s has %d messages and should have %d", ErrDamaged, one.Name, state.Msgs, one.Messages)
		}
		if err := restoreTail(ctx, js, one.Name, filepath.Join(from, tailFile)); err != nil {
			return fmt.Errorf("restore what came to the stream %s during the backup: %w", one.Name, err)
		}
		progress(one)
	}
	return nil
}

// allow has a stream allow the removal that an earlier version had it deny for good.
func allow(config *api.StreamConfig) {
	for _, want := range (streams.Options{}).All() {
		if want.Name == config.Name {
			config.DenyDelete = config.DenyDelete && want.DenyDelete
			config.DenyPurge = config.DenyPurge && want.DenyPurge
		}
	}
}

// shrinks reports whether a stream may have fewer messages than when its copy was begun: what is
// replaced, has aged, is let go of, or was a user's who has left.
func shrinks(stream string, m meta) bool {
	return changes(stream) || !m.Config.DenyDelete || !m.Config.DenyPurge || m.Config.MaxAge > 0 || m.Config.MaxBytes > 0
}

func historyLast(stream string) int {
	if stream == streams.History {
		return 1
	}
	return 0
}

// RestoreFiles copies the instance's files of a backup below a folder.
func RestoreFiles(dir string, m Manifest, to string) error {
	for _, f := range m.Files {
		rel, err := filepath.Rel(filesDir, filepath.FromSlash(f.Path))
		if err != nil || !filepath.IsLocal(rel) {
			continue // of a stream
		}
		if err := copyFile(filepath.Join(dir, filepath.FromSlash(f.Path)), filepath.Join(to, rel)); err != nil {
			return err
		}
	}
	return syncDir(to)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
