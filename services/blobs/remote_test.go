package blobs

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
)

// storedParts is content in parts with their cursors, in order, as a store keeps it.
type storedParts struct {
	parts   [][]byte
	cursors []uint64
}

// cut lays content into parts of a size, and lets the cursors go on by the gaps.
func cut(content []byte, size int, gaps func() uint64) storedParts {
	var s storedParts
	cursor := uint64(0)
	for part := range slices.Chunk(content, size) {
		cursor += gaps()
		s.parts, s.cursors = append(s.parts, part), append(s.cursors, cursor)
	}
	return s
}

func (s storedParts) part(_ context.Context, _ string, after uint64) ([]byte, uint64, error) {
	for i, cursor := range s.cursors {
		if cursor > after {
			return s.parts[i], cursor, nil
		}
	}
	return nil, after, nil
}

// TestRemoteGetsWhatIsStored: whatever lies between the parts, what comes is the content.
func TestRemoteGetsWhatIsStored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		content := random(rapid.IntRange(0, 200).Draw(t, "bytes"))
		s := cut(content, rapid.IntRange(1, 50).Draw(t, "part"), func() uint64 { return rapid.Uint64Range(1, 6).Draw(t, "gap") })
		var mu sync.Mutex
		calls := 0
		r := NewRemote(func(ctx context.Context, digest string, after uint64) ([]byte, uint64, error) {
			mu.Lock()
			calls++
			mu.Unlock()
			return s.part(ctx, digest, after)
		})
		var got bytes.Buffer
		if err := r.Get(t.Context(), blobOf(content), &got); err != nil || !bytes.Equal(got.Bytes(), content) {
			t.Fatalf("got %d of %d bytes, %v", got.Len(), len(content), err)
		}
		if most := partWindow * len(s.parts); calls > most {
			t.Errorf("%d questions for %d parts", calls, len(s.parts))
		}
	})
}

func TestRemoteOfAStore(t *testing.T) {
	store, _ := bucket(t)
	r := NewRemote(store.Part)
	for _, size := range []int{0, 1, chunkBytes, 9*chunkBytes + 17} {
		raw := random(size)
		must(t, store.Put(t.Context(), blobOf(raw), bytes.NewReader(raw)))
		var got bytes.Buffer
		if err := r.Get(t.Context(), blobOf(raw), &got); err != nil || !bytes.Equal(got.Bytes(), raw) {
			t.Errorf("got %d of %d bytes, %v", got.Len(), size, err)
		}
	}
	if err := r.Get(t.Context(), blobOf([]byte("nobody's")), &bytes.Buffer{}); !errors.Is(err, ErrNoBlob) {
		t.Errorf("what is not stored: %v", err)
	}
}

func TestRemoteVerifies(t *testing.T) {
	content := random(100)
	one := func() uint64 { return 1 }
	longer := blobOf(content)
	longer.SizeBytes++
	other := blobOf(content)
	other.Digest = "sha256:" + strings.Repeat("ab", 32)
	broken := errors.New("broken")
	for what, c := range map[string]struct {
		part PartFunc
		blob events.Blob
		want string
	}{
		"other bytes":              {cut(random(101)[1:], 30, one).part, blobOf(content), "should be sha256:"},
		"more than was promised":   {cut(append(random(100), 'x'), 101, one).part, blobOf(content), "longer than the 100 bytes"},
		"less than was promised":   {cut(content, 30, one).part, longer, "1 bytes are missing"},
		"another digest":           {cut(content, 30, one).part, other, "should be sha256:abab"},
		"no digest":                {cut(content, 30, one).part, events.Blob{Digest: "x", SizeBytes: 1}, "x"},
		"nothing":                  {storedParts{}.part, blobOf(content), "100 bytes are missing"},
		"a cursor that stands":     {func(context.Context, string, uint64) ([]byte, uint64, error) { return []byte("x"), 0, nil }, blobOf(content), "has the cursor 0"},
		"an error":                 {func(context.Context, string, uint64) ([]byte, uint64, error) { return nil, 0, broken }, blobOf(content), "broken"},
		"an error behind the rest": {failAfter(cut(content, 30, one).part, 2, broken), blobOf(content), "broken"},
	} {
		err := NewRemote(c.part).Get(t.Context(), c.blob, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

func failAfter(part PartFunc, last uint64, err error) PartFunc {
	return func(ctx context.Context, digest string, after uint64) ([]byte, uint64, error) {
		if after >= last {
			return nil, 0, err
		}
		return part(ctx, digest, after)
	}
}

// TestRemoteAsksAhead: a part's way here is not waited for by each part behind it, and all readers
// together ask for no more than so many at once.
func TestRemoteAsksAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const way = 100 * time.Millisecond
		content := random(1 + 8*partWindow)
		s := cut(content, 1, func() uint64 { return 1 })
		var mu sync.Mutex
		asked, most := 0, 0
		r := NewRemote(func(ctx context.Context, digest string, after uint64) ([]byte, uint64, error) {
			mu.Lock()
			asked++
			most = max(most, asked)
			mu.Unlock()
			time.Sleep(way)
			mu.Lock()
			asked--
			mu.Unlock()
			return s.part(ctx, digest, after)
		})
		began := time.Now()
		must(t, r.Get(t.Context(), blobOf(content), &bytes.Buffer{}))
		if took := time.Since(began); took > 10*way || most != partWindow {
			t.Errorf("%d parts took %s, at most %d at once", len(s.parts), took, most)
		}
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() { must(t, r.Get(t.Context(), blobOf(content), &bytes.Buffer{})) })
		}
		all.Wait()
		if most != mostParts {
			t.Errorf("five readers asked for %d parts at once, want %d", most, mostParts)
		}
	})
}

func TestRemoteEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := NewRemote(func(ctx context.Context, _ string, _ uint64) ([]byte, uint64, error) {
		cancel()
		<-ctx.Done()
		return nil, 0, ctx.Err()
	})
	if err := r.Get(ctx, blobOf([]byte("x")), &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
