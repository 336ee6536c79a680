package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
)

const (
	// partBytes is the largest part of an upload; max_payload is 1 MiB.
	partBytes = 512 << 10
	// maxUploads and maxUploadsOfUser bound the uploads of one instance. Each holds a few MiB.
	maxUploads       = 64
	maxUploadsOfUser = 8
	// maxArtifactBytes bounds what a watcher uploads: a build's folder has 2 GiB, packed a little more.
	maxArtifactBytes = 3 << 30
)

// uploaders are a kind of callers that upload: users or watchers.
type uploaders struct {
	// subject is where a caller of the kind asks for an operation.
	subject func(caller, op string) string
	// have reports whether the caller need not upload the blob.
	have func(ctx context.Context, caller string, blob events.Blob) (bool, error)
	// admit refuses what the caller may not store besides what they do.
	admit func(ctx context.Context, caller string, blob events.Blob) error
	// store keeps what an upload yields.
	store storing
	// maxOfOne bounds the uploads of one caller at once.
	maxOfOne int
	maxBytes int64
}

// users upload bundles and inputs. What only others uploaded must be uploaded again: to know a
// digest is not to have the content.
func users(o Options) uploaders {
	return uploaders{
		subject: api.Subject, maxOfOne: maxUploadsOfUser, maxBytes: o.MaxBlobBytes, admit: o.Quotas.AdmitUpload,
		have: o.holds(func(user string) string { return user }), store: o.keep(func(user string) string { return user }),
	}
}

// holds reports whether a caller, as a holder, has shown to have the content, and it is stored.
func (o Options) holds(holder func(caller string) string) func(context.Context, string, events.Blob) (bool, error) {
	return func(ctx context.Context, caller string, blob events.Blob) (bool, error) {
		holds, err := o.Blobs.IsHolder(ctx, holder(caller), blob.Digest)
		if err != nil || !holds {
			return false, err
		}
		return isStored(ctx, o.Blobs, blob)
	}
}

// keep stores what a caller brings, as a holder.
func (o Options) keep(holder func(caller string) string) storing {
	return func(ctx context.Context, caller string, blob events.Blob, r io.Reader) error {
		if err := o.Blobs.Put(ctx, blob, r); err != nil {
			return err
		}
		return o.Blobs.AddHolder(ctx, holder(caller), blob.Digest)
	}
}

// watchers upload artifacts, results and what was typed. They may not write the store themselves: who may
// add to it may also put something else in a blob's place. What only others uploaded they must upload
// again, as users must: a report that names content hands it to the owner of the run.
func watchers(o Options) uploaders {
	return uploaders{
		subject: api.WatchSubject, maxOfOne: maxUploads, maxBytes: maxArtifactBytes,
		admit: func(context.Context, string, events.Blob) error { return nil },
		have:  o.holds(blobs.WatcherHolder), store: o.keep(blobs.WatcherHolder),
	}
}

// uploads takes blobs in parts. The parts of an upload go to the instance that began it, on
// hermes.api.<user>.upload.<instance>.<upload>, or a watcher's hermes.watch.<watcher>.upload.…; it
// listens there from its start, so that the first part finds it wherever in a cluster the sender is
// connected.
type uploads struct {
	Options
	uploaders
	instance     string
	subscription *nats.Subscription
	ctx          context.Context
	cancel       context.CancelFunc
	work         sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	going   map[string]*upload
	of      map[string]int
}

func newUploads(o Options, kind uploaders) *uploads {
	u := &uploads{Options: o, uploaders: kind, instance: o.NewID(), going: map[string]*upload{}, of: map[string]int{}}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	return u
}

func (u *uploads) start() (err error) {
	u.subscription, err = u.Conn.Subscribe(u.subject("*", "upload."+u.instance+".*"), u.part)
	if err != nil {
		return fmt.Errorf("listen for uploads: %w", err)
	}
	return nil
}

// stop ends every upload; what it had taken is dropped.
func (u *uploads) stop() error {
	u.mu.Lock()
	u.stopped = true
	u.mu.Unlock()
	u.cancel()
	err := u.subscription.Unsubscribe()
	u.work.Wait()
	if errors.Is(err, nats.ErrConnectionClosed) {
		return nil
	}
	return err
}

func (u *uploads) begin(ctx context.Context, caller string, ask api.BlobBegin) (api.BlobUpload, error) {
	if err := events.CheckDigest(ask.Digest); err != nil {
		return api.BlobUpload{}, api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
	}
	if ask.SizeBytes < 0 || ask.SizeBytes > u.maxBytes {
		return api.BlobUpload{}, api.Errorf(api.Invalid, api.InvalidArguments,
			"an upload of %d bytes is not possible; at most %d are allowed", ask.SizeBytes, u.maxBytes).
			WithHint("leave out what the build does not need in .hermesignore")
	}
	have, err := u.have(ctx, caller, ask.Blob)
	if err != nil {
		return api.BlobUpload{}, err
	}
	if have {
		return api.BlobUpload{Have: true}, nil
	}
	if err := u.admit(ctx, caller, ask.Blob); err != nil {
		return api.BlobUpload{}, err
	}
	return u.add(caller, ask.Blob)
}

// isStored reports whether the store has the blob, and if so keeps it from being collected.
func isStored(ctx context.Context, store *blobs.Store, blob events.Blob) (bool, error) {
	stored, err := store.Stat(ctx, blob.Digest)
	switch {
	case errors.Is(err, blobs.ErrNoBlob):
		return false, nil
	case err != nil:
		return false, err
	case stored != blob:
		return false, api.Errorf(api.Invalid, api.InvalidArguments, "the content %s has %d bytes, not %d",
			blob.Digest, stored.SizeBytes, blob.SizeBytes)
	}
	return store.Keep(ctx, blob.Digest)
}

func (u *uploads) add(caller string, blob events.Blob) (api.BlobUpload, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.stopped:
		return api.BlobUpload{}, api.Errorf(api.Unavailable, api.ServerUnavailable, "the server is being stopped").WithHint("try again")
	case u.of[caller] >= u.maxOfOne:
		return api.BlobUpload{}, api.Errorf(api.LimitReached, uploadsLimitReached,
			"%s has %d uploads under way; no more are allowed at once", caller, u.maxOfOne).
			WithHint("wait until one ends; one that stands still ends after %s", u.UploadIdle)
	case len(u.going) >= maxUploads:
		return api.BlobUpload{}, api.Errorf(api.Unavailable, uploadsLimitReached,
			"the server takes %d uploads at once, and all are under way", maxUploads).WithHint("try again in a moment")
	}
	one := newUpload(u.NewID(), caller, blob)
	u.going[one.id] = one
	u.of[caller]++
	u.work.Go(func() {
		if err := one.run(u.ctx, u.store, u.UploadIdle); err != nil {
			u.Log.Info("an upload failed", "caller", caller, "digest", blob.Digest, "err", err)
		}
		u.remove(one)
	})
	return api.BlobUpload{Subject: u.subject(caller, "upload."+u.instance+"."+one.id), PartBytes: partBytes}, nil
}

func (u *uploads) remove(one *upload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.going, one.id)
	if u.of[one.caller]--; u.of[one.caller] == 0 {
		delete(u.of, one.caller)
	}
	one.close()
}

// part hands a part to its upload. It runs for all uploads in turn and must not wait.
func (u *uploads) part(m *nats.Msg) {
	tokens := strings.Split(m.Subject, ".")
	caller, id := tokens[2], tokens[len(tokens)-1]
	u.mu.Lock()
	defer u.mu.Unlock()
	one := u.going[id]
	if one == nil || one.caller != caller {
		refuse(m, noSuchUpload(id))
		return
	}
	select {
	case one.parts <- m:
	default:
		refuse(m, api.Errorf(api.Invalid, api.InvalidArguments, "a part of the upload was sent before the one before it was answered"))
	}
}

func noSuchUpload(id string) *api.Error {
	return api.Errorf(api.NotFound, api.NoSuchBlob, "there is no upload %s", id).
		WithHint("it ended, or nothing arrived for too long: start the upload again")
}

// accept answers a part that was taken.
func accept(m *nats.Msg, progress api.BlobProgress) error {
	raw, err := json.Marshal(progress)
	if err != nil {
		return err
	}
	return m.Respond(raw)
}

// refuse answers with an error, as micro services do. A caller who does not hear it hears nothing
// more, which is an error too.
func refuse(m *nats.Msg, e *api.Error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return
	}
	reply := nats.NewMsg(m.Reply)
	reply.Header.Set(micro.ErrorHeader, e.Message)
	reply.Header.Set(micro.ErrorCodeHeader, string(e.Kind))
	reply.Data = raw
	_ = m.RespondMsg(reply)
}
