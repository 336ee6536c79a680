package input

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func newFeed(t interface {
	Helper()
	Fatal(...any)
}, dir string, silence time.Duration) (*Feed, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	f := New(r, w, filepath.Join(dir, "given"), silence)
	return f, r
}

func noStore(context.Context, events.Blob, io.ReadSeeker) error {
	return errors.New("nothing is to be stored")
}

// TestEveryByteOnceInOrder sends pieces of random sizes again, out of turn and cut at any place, as a
// network and a client that has no answer do: the command reads what was typed, and then its end.
func TestEveryByteOnceInOrder(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		typed := rapid.SliceOfN(rapid.Byte(), 0, 20_000).Draw(t, "typed")
		f, r := newFeed(t, dir, time.Hour)
		defer f.Close()
		read := make(chan []byte, 1)
		go func() {
			all, _ := io.ReadAll(r)
			read <- all
		}()
		acknowledged := int64(0)
		for closed := false; !closed; {
			// From anywhere before what was acknowledged, or ahead of it.
			from := rapid.Int64Range(max(0, acknowledged-100), min(acknowledged+100, int64(len(typed)))).Draw(t, "from")
			if rapid.Bool().Draw(t, "in turn") {
				from = acknowledged
			}
			to := rapid.Int64Range(from, min(from+5000, int64(len(typed)))).Draw(t, "to")
			var next int64
			next, closed = f.Take(from, typed[from:to], to == int64(len(typed)))
			switch {
			case next < acknowledged || next > max(acknowledged, to):
				t.Fatalf("a piece from %d to %d, with %d taken: goes on at %d", from, to, acknowledged, next)
			case closed && next != int64(len(typed)):
				t.Fatalf("closed at %d of %d", next, len(typed))
			}
			acknowledged = next
		}
		if next, closed := f.Take(0, []byte("more"), false); !closed || next != int64(len(typed)) {
			t.Fatalf("behind the end it goes on at %d, %v", next, closed)
		}
		if got := <-read; !bytes.Equal(got, typed) {
			t.Fatalf("read %d bytes, not the %d that were typed", len(got), len(typed))
		}
		checkGiven(t, f, typed)
	})
}

func checkGiven(t interface{ Fatalf(string, ...any) }, f *Feed, typed []byte) {
	var stored []byte
	given := f.Given(context.Background(), func(_ context.Context, blob events.Blob, r io.ReadSeeker) (err error) {
		if _, err = r.Seek(0, io.SeekStart); err == nil {
			stored, err = io.ReadAll(r)
		}
		if sum := events.NewBlobWriter(io.Discard); err == nil {
			_, _ = sum.Write(stored)
			if sum.Blob() != blob {
				t.Fatalf("stored as %+v, which is %+v", blob, sum.Blob())
			}
		}
		return err
	})
	if given.Input.Blob == nil {
		stored = given.Input.Inline
	}
	large := len(typed) > events.MaxInlineInputBytes
	if given.Bytes != int64(len(typed)) || given.Cut != "" || !bytes.Equal(stored, typed) || large != (given.Input.Blob != nil) {
		t.Fatalf("given %d bytes (blob %v), %q; want %d", given.Bytes, given.Input.Blob, given.Cut, len(typed))
	}
}

// TestNothingGrowsWithoutAReader: no more is taken than the window has room for, and it goes on when
// the command reads.
func TestNothingGrowsWithoutAReader(t *testing.T) {
	f, r := newFeed(t, t.TempDir(), time.Hour)
	defer f.Close()
	typed := bytes.Repeat([]byte("0123456789abcde\n"), 1<<19)
	taken := int64(0)
	fill := func() {
		for tries := 0; tries < 1000; tries++ {
			next, closed := f.Take(taken, typed[taken:], true)
			full := next == taken
			if taken = next; closed || full {
				return
			}
		}
	}
	fill()
	if most := int64(WindowBytes + 1<<20); taken == 0 || taken > most {
		t.Fatalf("%d bytes were taken that nobody reads; want at most %d", taken, most)
	}
	read := make(chan []byte, 1)
	go func() { all, _ := io.ReadAll(r); read <- all }()
	for end := time.Now().Add(time.Minute); taken < int64(len(typed)) && time.Now().Before(end); {
		before := taken
		if fill(); taken == before {
			time.Sleep(time.Millisecond)
		}
	}
	if got := <-read; !bytes.Equal(got, typed) {
		t.Errorf("read %d bytes, want %d", len(got), len(typed))
	}
	checkGiven(t, f, typed)
}

// TestACommandThatDoesNotRead: who sends to it hears that nothing more is taken.
func TestACommandThatDoesNotRead(t *testing.T) {
	f, _ := newFeed(t, t.TempDir(), time.Hour)
	f.Started() // the command's copy is closed as well: it has none
	for end := time.Now().Add(time.Minute); ; {
		next, closed := f.Take(0, []byte("hello"), false)
		if closed {
			break
		}
		if next != 5 || time.Now().After(end) {
			t.Fatalf("goes on at %d", next)
		}
	}
	given := f.Given(t.Context(), noStore)
	if string(given.Input.Inline) != "hello" {
		t.Errorf("given %+v", given)
	}
	f.Close()
	f.Close()
}

func TestCloseWhileNobodyReads(t *testing.T) {
	f, r := newFeed(t, t.TempDir(), time.Hour)
	reader, err := unix.Dup(int(r.Fd())) // a command that sleeps has it open
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(reader) //nolint:errcheck // only kept
	for taken := int64(0); ; {
		next, _ := f.Take(taken, make([]byte, 64<<10), false)
		if next == taken {
			break
		}
		taken = next
	}
	f.Close() // returns
	if _, closed := f.Take(0, nil, false); !closed {
		t.Error("takes more after the end")
	}
}

func TestARecordThatCannotBeKept(t *testing.T) {
	for name, c := range map[string]struct {
		dir   string
		store Store
	}{
		"no folder": {filepath.Join(t.TempDir(), "none"), noStore},
		"no store":  {t.TempDir(), noStore},
	} {
		f, r := newFeed(t, c.dir, time.Hour)
		go func() { _, _ = io.Copy(io.Discard, r) }()
		typed := make([]byte, 2*events.MaxInlineInputBytes)
		f.Take(0, typed, true)
		given := f.Given(t.Context(), c.store)
		if given.Bytes != int64(len(typed)) || given.Cut == "" || given.Input.Blob != nil || given.Input.Inline != nil {
			t.Errorf("%s: %+v", name, given)
		}
		f.Close()
	}
}

func TestSilenceEndsTheInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := newFeed(t, t.TempDir(), time.Minute)
		defer f.Close()
		time.Sleep(time.Hour) // a sandbox may take long
		f.Started()
		for range 5 {
			time.Sleep(50 * time.Second)
			if _, closed := f.Take(0, nil, false); closed {
				t.Fatal("closed although something was heard")
			}
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if _, closed := f.Take(0, []byte("late"), false); !closed {
			t.Error("silence does not end it")
		}
	})
}
