package blobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bucket is an object store on a server of its own that keeps every promise at once.
func bucket(t *testing.T) (*Store, jetstream.ObjectStore) {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
	})
	must(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL(), nats.Timeout(30*time.Second))
	must(t, err)
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	t.Cleanup(func() { nc.Close(); <-closed })
	js, err := jetstream.New(nc)
	must(t, err)
	objects, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "blobs"})
	must(t, err)
	store, err := Open(t.Context(), js, "blobs")
	must(t, err)
	return store, objects
}

func random(size int) []byte {
	raw := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(raw)
	return raw
}

func blobOf(raw []byte) events.Blob {
	sum := sha256.Sum256(raw)
	return events.Blob{Digest: "sha256:" + hex.EncodeToString(sum[:]), SizeBytes: int64(len(raw))}
}

func TestWhatIsPutIsGot(t *testing.T) {
	store, _ := bucket(t)
	for _, size := range []int{0, 1, chunkBytes, 3*chunkBytes + 17} {
		raw := random(size)
		blob := blobOf(raw)
		if have, err := store.Has(t.Context(), blob.Digest); have || err != nil {
			t.Fatalf("%d bytes are there before they were put: %v", size, err)
		}
		must(t, store.Put(t.Context(), blob, iotest.HalfReader(bytes.NewReader(raw))))
		must(t, store.Put(t.Context(), blob, bytes.NewReader(raw)))
		var mismatch *MismatchError
		if err := store.Put(t.Context(), blob, strings.NewReader("not that")); !errors.As(err, &mismatch) {
			t.Fatalf("other content is taken because the right one is there: %v", err)
		}
		var got bytes.Buffer
		must(t, store.Get(t.Context(), blob, &got))
		if !bytes.Equal(got.Bytes(), raw) {
			t.Fatalf("%d bytes come back otherwise", size)
		}
		stat, err := store.Stat(t.Context(), blob.Digest)
		if err != nil || stat != blob {
			t.Fatal(stat, err)
		}
	}
}

func TestWrongContentIsRefusedAndLeavesNothing(t *testing.T) {
	store, objects := bucket(t)
	raw := random(2*chunkBytes + 5)
	blob := blobOf(raw)
	changed := bytes.Clone(raw)
	changed[len(raw)-1]++
	broken := errors.New("the disk is broken")
	ctx, cancel := context.WithCancel(t.Context())
	for _, c := range []struct {
		why      string
		mismatch bool
		ctx      context.Context
		r        io.Reader
	}{
		{"the content is longer than the", true, t.Context(), io.MultiReader(bytes.NewReader(raw), strings.NewReader("x"))},
		{"the content has 1048576 bytes", true, t.Context(), bytes.NewReader(raw[:2*chunkBytes])},
		{"the content is sha256:", true, t.Context(), bytes.NewReader(changed)},
		{broken.Error(), false, t.Context(), io.MultiReader(bytes.NewReader(raw[:chunkBytes]), iotest.ErrReader(broken))},
		{"context canceled", false, ctx, io.MultiReader(bytes.NewReader(raw[:chunkBytes]), &canceller{cancel, raw})},
	} {
		err := store.Put(c.ctx, blob, c.r)
		var mismatch *MismatchError
		if err == nil || !strings.Contains(err.Error(), c.why) || c.mismatch != errors.As(err, &mismatch) {
			t.Errorf("got %v, want %s", err, c.why)
		}
	}
	status, err := objects.Status(t.Context())
	must(t, err)
	stream := status.(*jetstream.ObjectBucketStatus).StreamInfo()
	if stream.State.Msgs != 0 {
		t.Fatalf("%d messages stayed", stream.State.Msgs)
	}
}

// lossy is a server of which the answers to names are lost.
type lossy struct{ jetstream.JetStream }

func (l lossy) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	_, err := l.JetStream.PublishMsg(ctx, m, opts...)
	return nil, errors.Join(err, nats.ErrTimeout)
}

func TestALostAnswerLosesNoContent(t *testing.T) {
	store, _ := bucket(t)
	store.js = lossy{store.js}
	raw := random(chunkBytes + 5)
	blob := blobOf(raw)
	must(t, store.Put(t.Context(), blob, bytes.NewReader(raw)))
	must(t, getSoon(t, store, blob))
}

// silent is a server that names reach only when nobody waits for them any more.
type silent struct {
	jetstream.JetStream
	heard []*nats.Msg
}

func (s *silent) PublishMsg(_ context.Context, m *nats.Msg, _ ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	s.heard = append(s.heard, m)
	return nil, nats.ErrTimeout
}

func TestANameThatArrivesLateNamesContent(t *testing.T) {
	store, _ := bucket(t)
	good := store.js
	late := &silent{JetStream: good}
	raw := random(chunkBytes + 5)
	blob := blobOf(raw)
	store.js = late
	if err := store.Put(t.Context(), blob, bytes.NewReader(raw)); !errors.Is(err, nats.ErrTimeout) {
		t.Fatalf("got %v", err)
	}
	store.js = good
	for _, m := range late.heard {
		_, err := good.PublishMsg(t.Context(), m)
		must(t, err)
	}
	must(t, store.Put(t.Context(), blob, bytes.NewReader(raw)))
	must(t, getSoon(t, store, blob))
}

func TestPutEndedAtAnyMomentCanBeTriedAgain(t *testing.T) {
	store, _ := bucket(t)
	begin := time.Now()
	raw := random(2048)
	must(t, store.Put(t.Context(), blobOf(raw), bytes.NewReader(raw)))
	whole := time.Since(begin)
	for round := range 150 {
		binary.BigEndian.PutUint64(raw, uint64(round))
		blob := blobOf(raw)
		ctx, cancel := context.WithTimeout(t.Context(), rand.N(whole*3/2))
		first := store.Put(ctx, blob, bytes.NewReader(raw))
		cancel()
		must(t, store.Put(t.Context(), blob, bytes.NewReader(raw)))
		if err := getSoon(t, store, blob); err != nil {
			t.Fatalf("round %d, after %v: %v", round, first, err)
		}
	}
}

// getSoon does not wait until the store finds that nothing comes.
func getSoon(t *testing.T, store *Store, blob events.Blob) error {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return store.Get(ctx, blob, io.Discard)
}

func TestPartsMakeTheWhole(t *testing.T) {
	store, _ := bucket(t)
	for _, size := range []int{0, 1, chunkBytes, 3*chunkBytes + 5} {
		raw := random(size)
		blob := blobOf(raw)
		must(t, store.Put(t.Context(), blob, bytes.NewReader(raw)))
		// What is stored between two parts is not of it.
		other := random(100)
		must(t, store.Put(t.Context(), blobOf(other), bytes.NewReader(other)))
		var got []byte
		for cursor := uint64(0); ; {
			part, next, err := store.Part(t.Context(), blob.Digest, cursor)
			must(t, err)
			if len(part) == 0 {
				break
			}
			got, cursor = append(got, part...), next
		}
		if !bytes.Equal(got, raw) {
			t.Errorf("of %d bytes %d came back", size, len(got))
		}
	}
	if _, _, err := store.Part(t.Context(), blobOf([]byte("none")).Digest, 0); !errors.Is(err, ErrNoBlob) {
		t.Errorf("of what is not there: %v", err)
	}
}

// TestTouchedContentIsKept: renewing a name changes nothing but its age, and what was listed before is
// not forgotten.
func TestTouchedContentIsKept(t *testing.T) {
	store, _ := bucket(t)
	raw := random(100)
	blob := blobOf(raw)
	must(t, store.Put(t.Context(), blob, bytes.NewReader(raw)))
	listed, err := store.Stored(t.Context())
	must(t, err)
	for after, renewed := range map[time.Duration]bool{time.Hour: false, 0: true} {
		if kept, err := store.touch(t.Context(), objectName(blob.Digest), after); !kept || err != nil {
			t.Fatalf("touched: %t, %v", kept, err)
		}
		now, err := store.Stored(t.Context())
		must(t, err)
		if len(now) != 1 || now[0].Blob != blob || renewed && !now[0].Since.After(listed[0].Since) {
			t.Fatalf("touched: %+v, before: %+v", now, listed)
		}
	}
	if gone, err := store.Forget(t.Context(), listed[0]); gone || err != nil {
		t.Errorf("what was renewed is forgotten: %t, %v", gone, err)
	}
	var got bytes.Buffer
	must(t, store.Get(t.Context(), blob, &got))
	if !bytes.Equal(got.Bytes(), raw) {
		t.Error("it is another content")
	}
}

func TestHoldersAreNoted(t *testing.T) {
	store, _ := bucket(t)
	blob := blobOf([]byte("x"))
	must(t, store.Put(t.Context(), blob, strings.NewReader("x")))
	must(t, store.AddHolder(t.Context(), "ana", blob.Digest))
	must(t, store.AddHolder(t.Context(), "ana", blob.Digest))
	for user, want := range map[string]bool{"ana": true, "eve": false} {
		if got, err := store.IsHolder(t.Context(), user, blob.Digest); got != want || err != nil {
			t.Errorf("%s: %v, %v", user, got, err)
		}
	}
	if err := store.AddHolder(t.Context(), "a/b", blob.Digest); err == nil {
		t.Error("a bad name is taken")
	}
}

// canceller ends a context in the middle of being read.
type canceller struct {
	cancel func()
	raw    []byte
}

func (c *canceller) Read(p []byte) (int, error) { c.cancel(); return copy(p, c.raw), nil }

func TestGetVerifies(t *testing.T) {
	store, objects := bucket(t)
	blob := blobOf([]byte("right"))
	err := store.Get(t.Context(), blob, io.Discard)
	if !errors.Is(err, ErrNoBlob) {
		t.Fatalf("got %v", err)
	}
	_, err = objects.PutBytes(t.Context(), objectName(blob.Digest), []byte("wrong"))
	must(t, err)
	var mismatch *MismatchError
	if err := store.Get(t.Context(), blob, io.Discard); !errors.As(err, &mismatch) {
		t.Fatalf("got %v", err)
	}
	if err := store.Get(t.Context(), events.Blob{Digest: "../x"}, io.Discard); err == nil {
		t.Fatal("a bad digest is taken")
	}
	full := errors.New("full")
	if err := store.Get(t.Context(), blob, failing{full}); !errors.Is(err, full) {
		t.Fatalf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// Larger than what the server lets wait in front of its disk (128 MiB), without a word of which
// the publishes of a faster client would be refused.
// TestWhatIsDeletedIsGone, and can be put again.
func TestWhatIsDeletedIsGone(t *testing.T) {
	s, _ := bucket(t)
	blob := blobOf([]byte("content"))
	for range 2 {
		must(t, s.Put(t.Context(), blob, strings.NewReader("content")))
		must(t, s.Delete(t.Context(), blob.Digest))
		if has, err := s.Has(t.Context(), blob.Digest); has || err != nil {
			t.Fatalf("it is there: %v, %v", has, err)
		}
		must(t, s.Delete(t.Context(), blob.Digest))
	}
	must(t, s.Put(t.Context(), blob, strings.NewReader("content")))
	var got bytes.Buffer
	must(t, s.Get(t.Context(), blob, &got))
	if err := s.Delete(t.Context(), "x"); err == nil || got.String() != "content" {
		t.Errorf("%v, %q", err, &got)
	}
}

func TestLargeBlob(t *testing.T) {
	if os.Getenv("HERMES_LARGE_TESTS") == "" {
		t.Skip("set HERMES_LARGE_TESTS to store 600 MiB")
	}
	store, _ := bucket(t)
	raw := random(600 << 20)
	blob := blobOf(raw)
	must(t, store.Put(t.Context(), blob, bytes.NewReader(raw)))
	must(t, store.Get(t.Context(), blob, io.Discard))
}
