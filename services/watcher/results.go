package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/bundle"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

const (
	// resultsFiles bounds the files and folders that are kept of a run.
	resultsFiles = 16384
	// resultsWithin bounds the packing and storing of what a run left.
	resultsWithin = 5 * time.Minute
)

// results keeps what a run left in its folder of results; nil if that is nothing. The processes of the
// run are dead. What cannot be kept is no failure of the run: the results say so.
func (w *Watcher) results(a *attempt, box sandbox.Sandbox) *events.Results {
	root, err := box.Results()
	if err == nil && root == nil {
		return nil
	}
	var left *events.Results
	if err == nil {
		left, err = w.keepResults(a, root)
		_ = root.Close()
	}
	if err != nil {
		w.Log.Warn("what a run left cannot be kept", "execution", a.ID, "err", err)
		return &events.Results{Cut: fmt.Sprintf("nothing could be kept: %v", err)}
	}
	return left
}

func (w *Watcher) keepResults(a *attempt, root *os.Root) (*events.Results, error) {
	ctx, cancel := context.WithTimeout(w.storing, resultsWithin)
	defer cancel()
	name := filepath.Join(w.scratch(), a.sandboxID()+".results")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing is to be read of it any more
	_ = os.Remove(name)
	limits := resultsLimits(a.Request.Limits)
	kept, err := bundle.PackKept(ctx, root, f, limits)
	if err != nil {
		return nil, err
	}
	left := &events.Results{Files: kept.Files, Bytes: kept.Bytes, Cut: kept.String()}
	if kept.Left > 0 {
		left.Cut += fmt.Sprintf(" (files and folders are kept, up to %s and %d of them)",
			humanize.IBytes(uint64(limits.TotalBytes)), limits.Files)
	}
	switch {
	case kept.Files == 0 && kept.Left == 0:
		return nil, nil // empty folders
	case kept.Files == 0:
		return left, nil
	}
	content := &listedArchive{listing: kept.Listing, archive: f}
	blob, err := content.blob()
	if err == nil {
		err = w.put(ctx, blob, content)
	}
	if err != nil {
		return nil, err
	}
	left.Archive = &blob
	return left, nil
}

// listedArchive is an archive behind its listing. It can be read again from its beginning.
type listedArchive struct {
	listing []byte
	archive io.ReadSeeker
	r       io.Reader
}

// blob is all of it.
func (l *listedArchive) blob() (events.Blob, error) {
	sum := events.NewBlobWriter(io.Discard)
	if _, err := l.Seek(0, io.SeekStart); err != nil {
		return events.Blob{}, err
	}
	_, err := io.Copy(sum, l)
	return sum.Blob(), err
}

// Seek implements io.Seeker, for the beginning.
func (l *listedArchive) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, fmt.Errorf("seek in an archive of results: %w", errors.ErrUnsupported)
	}
	if _, err := l.archive.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	l.r = io.MultiReader(bytes.NewReader(l.listing), l.archive)
	return 0, nil
}

// Read implements io.Reader.
func (l *listedArchive) Read(p []byte) (int, error) { return l.r.Read(p) }

// resultsLimits are those of an archive of results. What is in it may be as regular as it likes: its
// size is bounded.
func resultsLimits(l events.Limits) bundle.Limits {
	return bundle.Limits{Files: resultsFiles, TotalBytes: l.ResultsBytes, Ratio: 1 << 40}
}
