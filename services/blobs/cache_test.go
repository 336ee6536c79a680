package blobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hermes-serverless/hermes/events"
)

// memory is a Source that counts.
type memory struct {
	mu   sync.Mutex
	raw  map[string][]byte
	gets atomic.Int64
	// gate, when set, is waited for in the middle of each Get.
	gate chan struct{}
}

func (m *memory) add(content string) events.Blob {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.raw == nil {
		m.raw = map[string][]byte{}
	}
	blob := blobOf([]byte(content))
	m.raw[blob.Digest] = []byte(content)
	return blob
}

func (m *memory) Get(ctx context.Context, blob events.Blob, w io.Writer) error {
	m.gets.Add(1)
	m.mu.Lock()
	raw, there := m.raw[blob.Digest]
	m.mu.Unlock()
	if !there {
		return ErrNoBlob
	}
	if m.gate != nil {
		select {
		case <-m.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, err := io.Copy(w, newVerifier(bytes.NewReader(raw), blob))
	return err
}

// unpack writes the "archive" as one file, as bundle.ExtractReadOnly would.
func unpack(_ context.Context, archive io.Reader, into *os.Root) error {
	raw, err := io.ReadAll(archive)
	if err == nil && string(raw) == "bad archive" {
		err = errors.New("the archive is bad")
	}
	if err != nil {
		return err
	}
	if err := into.WriteFile("a", raw, 0o444); err != nil {
		return err
	}
	return errors.Join(into.Mkdir("d", 0o755), into.WriteFile("d/b", nil, 0o555), into.Chmod("d", 0o555))
}

func cacheIn(t *testing.T, folder string, source Source, maxBytes int64) *Cache {
	t.Helper()
	c, err := OpenCache(CacheOptions{Source: source, Folder: folder, MaxBytes: maxBytes, Unpack: unpack, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { c.Close(); must(t, removeAll(folder)) })
	return c
}

func cacheFolder(t *testing.T) string { return filepath.Join(t.TempDir(), "cache") }

// one is what an entry of these tests takes: two folders, two files, one of them with a block.
const one = 5 * 4096

func content(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(path, "a"))
	must(t, err)
	return string(raw)
}

func TestCacheFetchesOnceForMany(t *testing.T) {
	source := &memory{}
	blob := source.add("x")
	c := cacheIn(t, cacheFolder(t), source, 1<<20)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			path, release, err := c.Dir(t.Context(), blob)
			if err != nil || content(t, path) != "x" {
				t.Error(err)
				return
			}
			release()
			release()
		})
	}
	wg.Wait()
	if n := source.gets.Load(); n != 1 {
		t.Fatalf("it was fetched %d times", n)
	}
	info, err := os.Stat(c.path(blob.Digest))
	if err != nil || info.Mode() != fs.ModeDir|0o555 || c.Bytes() != one {
		t.Fatal(info.Mode(), c.Bytes(), err)
	}
}

func TestCacheEvictsWhatIsNotInUse(t *testing.T) {
	source := &memory{}
	c := cacheIn(t, cacheFolder(t), source, 2*one)
	held := source.add("held")
	path, release, err := c.Dir(t.Context(), held)
	must(t, err)
	for i := range 5 {
		_, release, err := c.Dir(t.Context(), source.add(fmt.Sprint(i)))
		must(t, err)
		release()
	}
	if content(t, path) != "held" {
		t.Fatal("what is in use was removed")
	}
	// "4" was used last, so it is the one that is still there.
	gets := source.gets.Load()
	_, again, err := c.Dir(t.Context(), source.add("4"))
	must(t, err)
	again()
	if source.gets.Load() != gets {
		t.Fatal("what was used last was removed")
	}
	release()
	c.Close()
	all, err := os.ReadDir(c.Folder)
	must(t, err)
	if len(all) != 3 || c.Bytes() != 2*one { // two entries and the boot file
		t.Fatal(all, c.Bytes())
	}
}

func TestCacheKeepsNothingBad(t *testing.T) {
	source := &memory{}
	c := cacheIn(t, cacheFolder(t), source, 1<<20)
	missing := blobOf([]byte("missing"))
	forged := blobOf([]byte("forged"))
	source.add("x")
	source.raw[forged.Digest] = []byte("forger")
	bad := source.add("bad archive")
	var mismatch *MismatchError
	if _, _, err := c.Dir(t.Context(), missing); !errors.Is(err, ErrNoBlob) {
		t.Errorf("got %v", err)
	}
	if _, _, err := c.Dir(t.Context(), forged); !errors.As(err, &mismatch) {
		t.Errorf("got %v", err)
	}
	if _, _, err := c.Dir(t.Context(), bad); err == nil || !bytes.Contains([]byte(err.Error()), []byte("the archive is bad")) {
		t.Errorf("got %v", err)
	}
	if _, _, err := c.Dir(t.Context(), events.Blob{Digest: "sha256:../../etc"}); err == nil {
		t.Error("a bad digest is taken")
	}
	all, err := os.ReadDir(c.Folder)
	must(t, err)
	if len(all) != 1 || c.Bytes() != 0 {
		t.Fatal(all)
	}
	// What is repaired at the source can be had.
	source.add("forged")
	_, release, err := c.Dir(t.Context(), forged)
	must(t, err)
	release()
}

func TestCacheSurvivesACrash(t *testing.T) {
	source := &memory{}
	folder := cacheFolder(t)
	blob := source.add("x")
	first := cacheIn(t, folder, source, 1<<20)
	_, release, err := first.Dir(t.Context(), blob)
	must(t, err)
	release()
	must(t, os.MkdirAll(filepath.Join(folder, tempPrefix+"half/d"), 0o755))
	must(t, os.Chmod(filepath.Join(folder, tempPrefix+"half"), 0o555))
	must(t, os.WriteFile(filepath.Join(folder, "stray"), nil, 0o600))

	second := cacheIn(t, folder, source, 1<<20)
	all, err := os.ReadDir(folder)
	must(t, err)
	if len(all) != 2 || second.Bytes() != one {
		t.Fatal(all, second.Bytes())
	}
	path, release, err := second.Dir(t.Context(), blob)
	if err != nil || content(t, path) != "x" || source.gets.Load() != 1 {
		t.Fatal(err, source.gets.Load())
	}
	release()

	must(t, os.WriteFile(filepath.Join(folder, bootFile), []byte("another boot"), 0o600))
	if third := cacheIn(t, folder, source, 1<<20); third.Bytes() != 0 {
		t.Fatal("files of before the last boot are trusted")
	}
	if fourth := cacheIn(t, folder, source, 0); fourth.Bytes() != 0 {
		t.Fatal("a smaller limit is not heeded at the start")
	}
}

// TestASyncedCacheSurvivesABoot: what has its name was synced before it got it.
func TestASyncedCacheSurvivesABoot(t *testing.T) {
	source, folder, syncs := &memory{}, cacheFolder(t), 0
	blob := source.add("x")
	open := func(fail error) *Cache {
		c, err := OpenCache(CacheOptions{
			Source: source, Folder: folder, MaxBytes: 1 << 20, Unpack: unpack, Log: slog.New(slog.DiscardHandler),
			Sync: func(path string) error {
				if _, err := os.Stat(filepath.Join(path, "a")); err != nil {
					t.Error("it is synced before it is unpacked:", err)
				}
				syncs++
				return fail
			},
		})
		must(t, err)
		t.Cleanup(func() { c.Close(); must(t, removeAll(folder)) })
		return c
	}
	failed := errors.New("the disk is full")
	if _, _, err := open(failed).Dir(t.Context(), blob); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	_, release, err := open(nil).Dir(t.Context(), blob)
	must(t, err)
	release()
	must(t, os.WriteFile(filepath.Join(folder, bootFile), []byte("another boot"), 0o600))
	if again := open(nil); again.Bytes() != one || syncs != 2 {
		t.Errorf("%d bytes are there after another boot, and %d syncs", again.Bytes(), syncs)
	}
}

func TestCacheCannotBeListedByOthers(t *testing.T) {
	folder := cacheFolder(t)
	must(t, os.MkdirAll(folder, 0o755)) // as an earlier version made it
	cacheIn(t, folder, &memory{}, 1<<20)
	info, err := os.Stat(folder)
	must(t, err)
	if info.Mode().Perm() != 0o711 {
		t.Fatal(info.Mode())
	}
}

func TestCacheCallersComeAndGo(t *testing.T) {
	source := &memory{gate: make(chan struct{})}
	blob := source.add("x")
	c := cacheIn(t, cacheFolder(t), source, 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	patient := make(chan error, 1)
	e := c.hold(t.Context(), blob) // somebody waits
	go func() { _, _, err := c.Dir(ctx, blob); patient <- err }()
	cancel()
	if err := <-patient; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if e.err != nil || e.ready() {
		t.Fatal("the fetching ended with one of two who wait")
	}
	// The last one goes: the fetching ends; the next one starts it anew.
	c.release(e)
	<-e.done
	if !errors.Is(e.err, context.Canceled) {
		t.Fatal(e.err)
	}
	close(source.gate)
	_, release, err := c.Dir(t.Context(), blob)
	must(t, err)
	release()
}
