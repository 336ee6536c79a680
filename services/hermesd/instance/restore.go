package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	natsconf "github.com/hermes-serverless/hermes/deployments/nats"
	"github.com/hermes-serverless/hermes/projections/projector"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/services/hermesd/backup"
	"github.com/hermes-serverless/hermes/services/retention"
)

// ErrOccupied: there is an instance already where one should be restored.
var ErrOccupied = errors.New("the data directory holds an instance")

// kept are the folders of a data directory that are the instance: what is not among them is made anew.
// The first is the one that may be a disk of its own, which cannot be replaced: nothing is then.
var kept = []string{"jetstream", "keys", "tls"}

// SecretFiles returns the files of an instance's folder that a backup must have beside its streams:
// its keys and its certificate, by their paths below it.
func SecretFiles(dataDir string) (map[string]string, error) {
	files := map[string]string{}
	for _, name := range []string{"keys", "tls"} {
		err := filepath.WalkDir(filepath.Join(dataDir, name), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && entry.IsDir() {
				return nil
			}
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dataDir, path)
			files[filepath.ToSlash(rel)] = path
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("find the keys of the instance: %w", err)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no keys of an instance: name its --data-dir, or leave the keys out by --streams-only", dataDir)
	}
	return files, nil
}

// RestoreOptions say what to make an instance of, and where.
type RestoreOptions struct {
	// Backup is the folder of a backup.
	Backup string
	// Data is the instance's folder, opened. Restore takes it over and closes it.
	Data *DataDir
	// Overwrite replaces the instance that is there.
	Overwrite bool
	Log       *slog.Logger
	// Progress hears which streams are there again; never nil.
	Progress func(backup.Stream)
}

// Restore makes an instance of a backup, which Start starts. The one that was there, if any, is
// replaced when the new one is whole. The views are made anew of their logs. Errors: ErrOccupied, backup.ErrNoBackup, backup.ErrDamaged.
func Restore(ctx context.Context, o RestoreOptions) (m backup.Manifest, err error) {
	defer func() { err = errors.Join(err, o.Data.Close()) }()
	if !o.Overwrite {
		if err := unoccupied(o.Data); err != nil {
			return m, err
		}
	}
	if m, err = backup.Check(o.Backup); err != nil {
		return m, err
	}
	stage := &DataDir{path: o.Data.Path("restoring")}
	if err := errors.Join(os.RemoveAll(stage.path), os.Mkdir(stage.path, 0o700)); err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage.path)) }()
	if err := backup.RestoreFiles(o.Backup, m, stage.path); err != nil {
		return m, err
	}
	if err := restoreStreams(ctx, o, m, stage); err != nil {
		return m, err
	}
	return m, replace(o.Data, stage)
}

func unoccupied(data *DataDir) error {
	for _, name := range kept {
		entries, err := os.ReadDir(data.Path(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if len(entries) > 0 {
			return fmt.Errorf("%w: %s: restore into another --data-dir, or replace it by --overwrite", ErrOccupied, data.path)
		}
	}
	return nil
}

// restoreStreams restores into the stage, with a server that is told what Start's will be told: the
// accounts decide where the server keeps things.
func restoreStreams(ctx context.Context, o RestoreOptions, m backup.Manifest, stage *DataDir) error {
	keys, err := loadKeys(stage)
	if err != nil {
		return err
	}
	in := &Instance{}
	in.server, err = startServer(stage, natsconf.Config{
		ServerName: "hermes", Listen: "127.0.0.1:0", StoreDir: stage.Path("jetstream"), Sync: "1m",
		ServicesKey: keys.services.public, OperatorKey: keys.operator.public, Callout: keys.callout.config(),
	}, o.Log)
	if err != nil {
		return err
	}
	defer func() {
		in.server.Shutdown()
		in.server.WaitForShutdown()
	}()
	nc, err := in.connect("hermesd restore", "", keys.services, o.Log)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := backup.RestoreStreams(ctx, nc, o.Backup, m, o.Progress); err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if err := ensureStreams(ctx, js, serviceOptions{replicas: 1, log: o.Log}); err != nil {
		return err
	}
	projectors := Projectors(js, OpenLogs(js), o.Log)
	for _, p := range projectors {
		if err := catchUp(ctx, p); err != nil {
			return fmt.Errorf("make the views of %s: %w", p.Bucket(), err)
		}
	}
	return forgetEverybody(ctx, js, projectors, o.Log)
}

// forgetEverybody removes what is there of users who have left: some of it may have been copied before they
// left, and the rest behind that.
func forgetEverybody(ctx context.Context, js jetstream.JetStream, projectors []*projector.Projector, log *slog.Logger) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	defer func() { cancel(); err = errors.Join(err, g.Wait()) }()
	for _, p := range projectors {
		g.Go(func() error { return p.Run(ctx) })
	}
	collector, err := NewCollector(ctx, js, Keep{}, log)
	if err != nil {
		return err
	}
	v := views.New(js, collector.Executions, projectors...)
	return NewForget(js, collector, v, log).Round(ctx, retention.Everybody)
}

// catchUp projects until all of the log is in the views.
func catchUp(ctx context.Context, p *projector.Projector) error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	for {
		_, changed := p.Progress()
		lag, err := p.Lag(ctx)
		if err != nil || lag == 0 {
			return err
		}
		select {
		case <-changed:
		case err := <-ended:
			ended <- err
			return errors.Join(err, ctx.Err())
		}
	}
}

// replace puts what was restored in the place of what was there, which goes with the stage: to remove
// it takes a while, in which there would be no instance.
func replace(data, stage *DataDir) error {
	if err := data.sync(); err != nil {
		return err
	}
	for _, name := range kept {
		for _, move := range [][2]string{{data.Path(name), stage.Path("replaced-" + name)}, {stage.Path(name), data.Path(name)}} {
			if err := os.Rename(move[0], move[1]); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return data.sync()
}

// sync brings everything written to the folder's filesystem to disk.
func (d *DataDir) sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
