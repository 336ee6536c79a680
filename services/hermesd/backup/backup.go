// Package backup copies an instance into a folder while it runs, and makes an instance of such a
// folder again. Streams, buckets and stores go by JetStream's own snapshots, one folder each; a
// manifest, which is written last, has the sums of all files.
package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams"
)

const (
	// manifestFile is in a backup that is whole.
	manifestFile = "manifest.json"
	// streamsDir has a folder for each stream, filesDir the instance's files.
	streamsDir, filesDir = "streams", "files"
	// format is the version of the layout.
	format = 1
	// requestTimeout bounds one question to the server, not a snapshot.
	requestTimeout = 30 * time.Second
)

// Errors of a backup's folder. Each is wrapped with the folder or file and what is wrong with it.
var (
	ErrNotEmpty = errors.New("the folder is not empty")
	ErrNoBackup = errors.New("the folder holds no whole backup")
	ErrDamaged  = errors.New("the backup is damaged")
)

// Manifest says what a backup holds.
type Manifest struct {
	Format  int    `json:"format"`
	Version string `json:"version"`
	// Begun is when it was asked for: what was acknowledged before is in it. What came until Ended may be.
	Begun   time.Time `json:"begun"`
	Ended   time.Time `json:"ended"`
	Streams []Stream  `json:"streams"`
	// Files are all files but this one, by their paths below the folder.
	Files []File `json:"files"`
}

// Stream is one that was copied.
type Stream struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	// Bytes are those of the copy, which is compressed.
	Bytes int64 `json:"bytes"`
}

// File is one of a backup, with what it must hold.
type File struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Options say what to copy and to where.
type Options struct {
	Conn *nats.Conn
	// Dir is made; if it is there it must be empty.
	Dir string
	// Files are the instance's own, by their path below the backup's folder of files: the copy of each
	// can be read by its owner only.
	Files   map[string]string
	Version string
	Now     func() time.Time
	// Progress hears what was copied; never nil.
	Progress func(Stream)
}

// leftOut are streams of which a copy would be worth nothing: views, which are made anew of their
// logs, who leads and lives, and where runs were placed, which the next leader decides anew.
func leftOut(stream string) bool {
	return stream == streams.Runs || slices.ContainsFunc([]string{
		streams.BucketFunctions, streams.BucketExecutions, streams.BucketFleet, streams.BucketUsers, streams.BucketBases, streams.BucketLeases,
	}, func(bucket string) bool { return stream == streams.BucketStream(bucket) })
}

func isBucket(stream string) bool { return strings.HasPrefix(stream, streams.BucketStream("")) }

// changes reports whether messages of a stream are replaced by others.
func changes(stream string) bool {
	return isBucket(stream) || stream == streams.BlobsStream(streams.Blobs)
}

// rank orders the copies so that together they make sense, although the instance goes on between
// them: the history before the log that it copies, a function before its build, and what is referred
// to behind what refers to it. Users are behind what they have: who has left when that is copied has left.
func rank(stream string) int {
	switch stream {
	case streams.Users, streams.BlobsStream(streams.Blobs), streams.Output, streams.BucketStream(streams.BucketSecrets):
		return 3
	case streams.Executions:
		return 2
	case streams.History, streams.Archive:
		return 0
	}
	return 1
}

// names returns the streams to copy, in order.
func names() []string {
	var all []string
	for _, c := range (streams.Options{}).All() {
		if !leftOut(c.Name) {
			all = append(all, c.Name)
		}
	}
	slices.SortStableFunc(all, func(a, b string) int { return rank(a) - rank(b) })
	return all
}

// Make copies an instance. On an error the folder holds no backup.
func Make(ctx context.Context, o Options) (Manifest, error) {
	m := Manifest{Format: format, Version: o.Version, Begun: o.Now().UTC()}
	if err := makeEmpty(o.Dir); err != nil {
		return m, err
	}
	mgr, err := jsm.New(o.Conn, jsm.WithTimeout(requestTimeout))
	if err != nil {
		return m, err
	}
	js, err := jetstream.New(o.Conn)
	if err != nil {
		return m, err
	}
	for _, name := range names() {
		one, err := snapshot(ctx, mgr, js, name, filepath.Join(o.Dir, streamsDir, name))
		if err != nil {
			return m, fmt.Errorf("copy the stream %s: %w", name, err)
		}
		m.Streams = append(m.Streams, one)
		o.Progress(one)
	}
	for to, from := range o.Files {
		if err := copyFile(from, filepath.Join(o.Dir, filesDir, to)); err != nil {
			return m, err
		}
	}
	if m.Files, err = sumAll(o.Dir); err != nil {
		return m, err
	}
	m.Ended = o.Now().UTC()
	return m, writeManifest(o.Dir, m)
}

func makeEmpty(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil { // keys will be in it
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%w: %s: choose another for each backup", ErrNotEmpty, dir)
	}
	return nil
}

func snapshot(ctx context.Context, mgr *jsm.Manager, js jetstream.JetStream, name, dir string) (Stream, error) {
	stream, err := mgr.LoadStream(name)
	if err != nil {
		return Stream{}, err
	}
	if _, err := stream.SnapshotToDirectory(ctx, dir); err != nil {
		return Stream{}, err
	}
	data, err := jsm.SnapshotDataPath(dir)
	if err != nil {
		return Stream{}, err
	}
	info, err := os.Stat(data)
	if err != nil {
		return Stream{}, err
	}
	meta, err := readMeta(dir)
	one := Stream{Name: name, Messages: meta.State.Msgs, Bytes: info.Size()}
	if err == nil && changes(name) {
		err = copyTail(ctx, js, name, meta.State.LastSeq, filepath.Join(dir, tailFile))
	}
	return one, err
}

func writeManifest(dir string, m Manifest) error {
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	// Under its name only when all of it is there.
	file := filepath.Join(dir, manifestFile)
	if err := writeSynced(file+".new", raw); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Read reads the manifest of a whole backup.
func Read(dir string) (Manifest, error) {
	var m Manifest
	raw, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("%w: %s has no %s: was the backup cut short?", ErrNoBackup, dir, manifestFile)
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("%w: %s: %w", ErrDamaged, manifestFile, err)
	}
	if m.Format != format {
		return m, fmt.Errorf("%w: %s is of format %d, this hermesd knows %d", ErrNoBackup, dir, m.Format, format)
	}
	return m, nil
}
