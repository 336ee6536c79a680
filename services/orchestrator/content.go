package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
)

// A watcher reads bases, which are the operator's, and what the executions need that are placed on it or
// run there. Nothing else of the store: whoever has taken a watcher over has what it was given.

const (
	// mostLately is how many of the artifacts that were given to a watcher it may read later: it prepares
	// sandboxes for functions that ran a moment ago, and may have let go of their folders.
	mostLately = 256
	// mostGiven is how many are remembered, for the watcher to be told when they are of no use any more. It is
	// far more than a watcher keeps anything ready for.
	mostGiven = 4096
	// mostReads bounds the parts that one watcher is sent at once, 8 MiB. A watcher asks for fewer.
	mostReads = 16
)

// given is what a watcher was given for a run.
type given struct {
	function events.FunctionRef
	// digest is that of the artifact.
	digest string
}

// mayRead reports whether the watcher may have the content.
func (s *state) mayRead(watcher, digest string) bool {
	list := s.lately[watcher]
	isLate := slices.ContainsFunc(list[max(len(list)-mostLately, 0):], func(g given) bool { return g.digest == digest })
	if _, isBase := s.architectures[digest]; isBase || isLate {
		return true
	}
	for _, e := range s.held {
		if e.holder() == watcher && needsContent(e.exec.Request, digest) {
			return true
		}
	}
	return false
}

// needsContent reports whether an execution cannot do without the content. Its base may have been imported
// a moment ago.
func needsContent(r events.ExecutionRequested, digest string) bool {
	if r.Source.Digest == digest || r.Input.Blob != nil && r.Input.Blob.Digest == digest {
		return true
	}
	base, err := events.ParseBaseRef(r.Base)
	return err == nil && !base.IsHost() && base.Digest == digest
}

// remember notes what a run was given as its watcher's last, unless it is of no use to later ones.
func (s *state) remember(e *entry) {
	if e.exec.Request.Kind != events.KindRun || e.outdated {
		return
	}
	watcher, last := e.holder(), given{e.exec.Request.Function, e.exec.Request.Source.Digest}
	list := s.lately[watcher]
	at := len(list) - 1
	for at >= 0 && list[at] != last { // a run often follows one of its kind
		at--
	}
	switch {
	case at >= 0:
		list = slices.Delete(list, at, at+1)
	case len(list) >= mostGiven:
		list = slices.Delete(list, 0, len(list)-mostGiven+1)
	}
	s.lately[watcher] = append(list, last)
}

// admitRead refuses what the watcher may not have. That it does not exist is nobody's to know who may not.
func (l *leader) admitRead(watcher, digest string) error {
	if err := events.CheckDigest(digest); err != nil {
		return api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.mayRead(watcher, digest) {
		return nil
	}
	for _, on := range l.early {
		if on.watcher == watcher {
			return api.Errorf(api.Unavailable, api.ServerUnavailable, "what is placed on %s is not known yet", watcher).WithHint("ask again in a moment")
		}
	}
	return api.Errorf(api.Unauthorized, api.NotPermitted, "nothing that is placed on the watcher %s needs %s", watcher, digest)
}

func (l *leader) statBlob(ctx context.Context, watcher string, ask api.BlobStat) (events.Blob, error) {
	if err := l.admitRead(watcher, ask.Digest); err != nil {
		return events.Blob{}, err
	}
	blob, err := l.Blobs.Stat(ctx, ask.Digest)
	return blob, contentError(ask.Digest, err)
}

// readBlob answers api.OpBlobRead.
func (l *leader) readBlob(ctx context.Context, watcher string, raw []byte) (nats.Header, []byte, error) {
	var ask api.BlobRead
	if err := json.Unmarshal(raw, &ask); err != nil {
		return nil, nil, api.Errorf(api.Invalid, api.InvalidArguments, "the request cannot be read: %v", err)
	}
	if err := l.admitRead(watcher, ask.Digest); err != nil {
		return nil, nil, err
	}
	if !l.reads.begin(watcher) {
		return nil, nil, api.Errorf(api.Unavailable, api.TooManyRequests, "the watcher %s is sent %d parts already", watcher, mostReads).
			WithHint("ask again in a moment")
	}
	defer l.reads.end(watcher)
	data, cursor, err := l.Blobs.Part(ctx, ask.Digest, ask.After)
	if err != nil {
		return nil, nil, contentError(ask.Digest, err)
	}
	header, err := json.Marshal(api.BlobPart{Cursor: cursor})
	if err != nil {
		return nil, nil, err
	}
	return nats.Header{api.HeaderPage: {string(header)}}, data, nil
}

// contentError is what a watcher is told. A store that does not answer is asked again.
func contentError(digest string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, blobs.ErrNoBlob):
		return api.Errorf(api.NotFound, api.NoSuchBlob, "%s is not stored", digest)
	}
	return fmt.Errorf("read for a watcher: %w", err)
}

// reads counts the parts that are being sent to each watcher.
type reads struct {
	mu sync.Mutex
	of map[string]int
}

// begin is false if the watcher is sent enough already.
func (r *reads) begin(watcher string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of[watcher] >= mostReads {
		return false
	}
	if r.of == nil {
		r.of = map[string]int{}
	}
	r.of[watcher]++
	return true
}

func (r *reads) end(watcher string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of[watcher]--; r.of[watcher] == 0 {
		delete(r.of, watcher)
	}
}

// dropForeign takes content out of a report that the watcher has not itself brought: the owner of the run
// would be given what is another's.
func (l *leader) dropForeign(ctx context.Context, watcher string, r *api.Report) error {
	if foreign, err := l.isForeign(ctx, watcher, r, r.Artifact); err != nil {
		return err
	} else if foreign {
		r.Artifact = nil
	}
	if r.Results != nil {
		if foreign, err := l.isForeign(ctx, watcher, r, r.Results.Archive); err != nil {
			return err
		} else if foreign {
			r.Results = &events.Results{Cut: cannotBe}
		}
	}
	if r.Given != nil {
		if foreign, err := l.isForeign(ctx, watcher, r, r.Given.Input.Blob); err != nil {
			return err
		} else if foreign {
			r.Given = &events.Given{Bytes: r.Given.Bytes, Cut: cannotBe}
		}
	}
	return nil
}

// isForeign reports whether there is content that somebody else has brought, or nobody. What is no digest is
// refused elsewhere.
func (l *leader) isForeign(ctx context.Context, watcher string, r *api.Report, blob *events.Blob) (bool, error) {
	if blob == nil || events.CheckDigest(blob.Digest) != nil {
		return false, nil
	}
	holds, err := l.Blobs.IsHolder(ctx, blobs.WatcherHolder(watcher), blob.Digest)
	if err == nil && !holds {
		l.log.Warn("a watcher reports content that it has not brought", "watcher", watcher, "owner", r.Owner, "execution", r.ID, "digest", blob.Digest)
	}
	return !holds, err
}
