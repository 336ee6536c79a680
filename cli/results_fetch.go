package cli

import (
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/bundle"
)

// errEnough ends a walk, and the fetching of an archive, that has come to all that was asked for.
var errEnough = errors.New("enough of the archive")

// askedResults are the files and folders of an archive that somebody asks for; no path is all of them.
type askedResults struct {
	paths, names []string
	found        []bool
	// files counts those of the names that were found to be files.
	files int
}

func newAskedResults(paths []string) *askedResults {
	a := &askedResults{paths: paths, names: make([]string, len(paths)), found: make([]bool, len(paths))}
	for i, p := range paths {
		a.names[i] = path.Clean(filepath.ToSlash(p))
	}
	return a
}

// take says whether an entry is asked for.
func (a *askedResults) take(e bundle.Entry) bool {
	wanted := len(a.names) == 0
	for i, name := range a.names {
		if e.Name == name || strings.HasPrefix(e.Name, name+"/") || name == "." {
			wanted, a.found[i] = true, true
		}
		if e.Name == name && !e.Folder {
			a.files++
		}
	}
	return wanted
}

// complete says that no later entry can be asked for: an archive has each name once, and what lies in a
// folder may come last.
func (a *askedResults) complete() bool { return len(a.names) > 0 && a.files == len(a.names) }

// missing is the first path that was not found; empty if all were.
func (a *askedResults) missing() string {
	for i, found := range a.found {
		if !found {
			return a.paths[i]
		}
	}
	return ""
}

// fetch has the archive sent: all of it, or, where only files are asked for, as far as they are in it; where
// they are to be listed, the listing before it, if there is one. files is nil without.
// Of a part there is no digest to compare with; each message of it is checked where it is stored.
func (o *executionFilesOptions) fetch(client *api.Client, archive *os.File) (left *events.Results, files []bundle.File, err error) {
	look := func(r io.Reader) (err error) {
		if files, err = bundle.ReadListing(r); err == nil {
			return errEnough
		}
		return err
	}
	switch {
	case o.get && len(o.paths) == 0:
		left, err = client.Results(o.ctx, o.ref, archive)
		return left, nil, err
	case o.get:
		look = o.look
	}
	r, w := io.Pipe()
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		err := look(r)
		if !errors.Is(err, errEnough) {
			// What is wrong with it, if anything is, who has all of it will find.
			_, err = io.Copy(io.Discard, r)
		}
		_ = r.CloseWithError(err)
	}()
	left, err = client.Results(o.ctx, o.ref, io.MultiWriter(archive, w))
	_ = w.CloseWithError(err)
	<-looked
	if errors.Is(err, errEnough) {
		err = nil
	}
	return left, files, err
}

// look reads an archive that comes, and is errEnough as soon as all that is asked for has come.
func (o *executionFilesOptions) look(r io.Reader) error {
	asked := newAskedResults(o.paths)
	return bundle.Walk(o.ctx, r, bundle.Limits{TotalBytes: 1 << 50, Ratio: 1 << 40}, func(e bundle.Entry, content func(io.Writer) error) error {
		if asked.take(e); !asked.complete() {
			return nil
		}
		if err := content(io.Discard); err != nil {
			return err
		}
		return errEnough
	})
}
