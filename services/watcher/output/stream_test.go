package output

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/services/api"
)

// store is a stream in memory: it drops repeated message ids, and fails as its script says.
type store struct {
	mu     sync.Mutex
	script func(n int) fate
	n      int
	ids    map[string]bool
	msgs   []*nats.Msg
}

// fate is what becomes of one publish.
type fate struct {
	stored bool
	err    error // what the publisher hears
	now    bool  // it hears it from send itself
}

type future struct {
	ok  chan *jetstream.PubAck
	bad chan error
}

func (f *future) Ok() <-chan *jetstream.PubAck { return f.ok }
func (f *future) Err() <-chan error            { return f.bad }
func (f *future) Msg() *nats.Msg               { return nil }

func (s *store) send(m *nats.Msg) (jetstream.PubAckFuture, error) {
	err, now := s.take(m)
	if now {
		return nil, err
	}
	f := &future{ok: make(chan *jetstream.PubAck, 1), bad: make(chan error, 1)}
	if err != nil {
		f.bad <- err
	} else {
		f.ok <- &jetstream.PubAck{}
	}
	return f, nil
}

func (s *store) store(_ context.Context, m *nats.Msg) error {
	err, _ := s.take(m)
	return err
}

func (s *store) take(m *nats.Msg) (err error, now bool) { //nolint:revive // the order of the script
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	f := fate{stored: true}
	if s.script != nil {
		f = s.script(s.n)
	}
	if id := m.Header.Get(nats.MsgIdHdr); f.stored && !s.ids[id] {
		s.ids[id] = true
		s.msgs = append(s.msgs, m)
	}
	return f.err, f.now
}

// read is what a reader sees that takes a chunk only at the offset that it expects.
func (s *store) read(t *testing.T) (all, stdout, stderr []byte, end api.OutputEnd) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.msgs {
		c, err := api.ParseChunk(m)
		if err != nil {
			t.Fatal(err)
		}
		if c.Offset != int64(len(all)) {
			continue
		}
		switch c.Stream {
		case api.Stdout:
			stdout = append(stdout, c.Data...)
		case api.Stderr:
			stderr = append(stderr, c.Data...)
		case api.End:
			if end, err = c.End(); err != nil {
				t.Fatal(err)
			}
			return all, stdout, stderr, end
		}
		all = append(all, c.Data...)
	}
	t.Fatal("no end message at the expected offset")
	return nil, nil, nil, api.OutputEnd{}
}

const limit = 1 << 20

// start opens a stream on two pipes and returns their write ends.
func start(t *testing.T, ctx context.Context, s *store, onLimit func(string)) (stream *Stream, stdout, stderr *os.File, p *Publisher) { //nolint:revive // t first
	t.Helper()
	s.ids = map[string]bool{}
	p = newPublisher(s, s, 1<<10)
	outR, outW, err1 := os.Pipe()
	errR, errW, err2 := os.Pipe()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return p.Open(ctx, outR, errR, Options{
		Subject: "hermes.output.w.o.id", Ref: api.AttemptRef{Owner: "o", ID: "id", Attempt: 1}, LimitBytes: limit, OnLimit: onLimit,
	}), outW, errW, p
}

func text(n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte('a' + rng.IntN(26))
	}
	return b
}

func TestStreamIsCompleteWhateverHappens(t *testing.T) {
	lost := errors.New("lost")
	scripts := map[string]func(int) fate{
		"calm":                 nil,
		"lost":                 func(n int) fate { return fate{stored: n%7 != 3, err: errIf(n%7 == 3, lost)} },
		"stored, ack lost":     func(n int) fate { return fate{stored: true, err: errIf(n%5 == 2, lost)} },
		"refused by the conn":  func(n int) fate { return fate{stored: n%9 != 4, err: errIf(n%9 == 4, lost), now: n%9 == 4} },
		"nothing for a while":  func(n int) fate { return fate{stored: n > 40, err: errIf(n <= 40, lost)} },
		"lost, then ack lost":  func(n int) fate { return fate{stored: n%11 != 3, err: errIf(n%11 == 3 || n%11 == 6, lost)} },
		"the end is lost once": func(n int) fate { return fate{stored: n != 1, err: errIf(n == 1, lost)} },
	}
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The disturbance ends: one that strikes with the period of the repairs would never let one through.
			s := &store{script: func(n int) fate {
				if script == nil || n > 150 {
					return fate{stored: true}
				}
				return script(n)
			}}
			stream, stdout, stderr, p := start(t, t.Context(), s, nil)
			wantOut, wantErr := text(50_000), text(7_000)
			var wg sync.WaitGroup
			wg.Go(func() { write(t, stdout, wantOut) })
			wg.Go(func() { write(t, stderr, wantErr) })
			wg.Wait()
			sum := stream.Finish()
			all, gotOut, gotErr, end := s.read(t)
			if !bytes.Equal(gotOut, wantOut) || !bytes.Equal(gotErr, wantErr) {
				t.Errorf("read %d and %d bytes, not the %d and %d written", len(gotOut), len(gotErr), len(wantOut), len(wantErr))
			}
			digest := sha256.Sum256(all)
			if sum.SHA256 != hex.EncodeToString(digest[:]) || sum.Cut != "" || sum.StdoutBytes != 50_000 || sum.StderrBytes != 7_000 {
				t.Errorf("sum %+v", sum)
			}
			if want := (api.OutputEnd{Attempt: 1, StdoutBytes: 50_000, StderrBytes: 7_000, Chunks: sum.Chunks, SHA256: sum.SHA256}); end != want {
				t.Errorf("end %+v, want %+v", end, want)
			}
			if !p.budget.TryAcquire(inFlightBytes) {
				t.Error("the budget was not given back")
			}
		})
	}
}

// A connection that goes down loses one chunk and delivers the next ones from its buffer when it is
// up again, unheard: those must be stored once more, behind the lost one.
func TestChunksThatWereStoredUnheardAreRepeatedInOrder(t *testing.T) {
	s := &store{ids: map[string]bool{}, script: func(n int) fate {
		return fate{stored: n != 2, err: errIf(n > 1 && n <= 4, nats.ErrDisconnected)}
	}}
	sender := &sender{
		transport: s, subject: "hermes.output.w.o.id", ref: api.AttemptRef{Owner: "o", ID: "id", Attempt: 1},
		release: func(int64) {}, sum: newSum(),
	}
	for _, text := range []string{"one ", "two ", "three ", "four"} {
		sender.publish([]part{{stream: api.Stdout, at: time.Now(), data: []byte(text)}})
	}
	for len(sender.unacked) > 0 {
		ok, bad, _ := sender.head()
		select {
		case <-ok:
			sender.acked()
		case err := <-bad:
			sender.repair(t.Context(), err)
		}
	}
	read := ""
	for _, m := range s.msgs {
		if c, err := api.ParseChunk(m); err != nil {
			t.Fatal(err)
		} else if c.Offset == int64(len(read)) {
			read += string(c.Data)
		}
	}
	if read != "one two three four" {
		t.Errorf("a reader takes %q of what is stored", read)
	}
}

func errIf(when bool, err error) error {
	if when {
		return err
	}
	return nil
}

func write(t *testing.T, f *os.File, data []byte) {
	t.Helper()
	for len(data) > 0 {
		n := min(len(data), 700)
		if _, err := f.Write(data[:n]); err != nil {
			t.Error(err)
			return
		}
		data = data[n:]
	}
	_ = f.Close()
}

func TestStreamLimit(t *testing.T) {
	for _, more := range []int{0, 1} {
		t.Run(fmt.Sprint(more), func(t *testing.T) {
			s := &store{}
			hit := make(chan string, 1)
			stream, stdout, stderr, p := start(t, t.Context(), s, func(which string) { hit <- which })
			_ = stderr.Close()
			go func() {
				_, _ = stdout.Write(text(limit + more))
				_ = stdout.Close()
			}()
			if more > 0 {
				if which := <-hit; which != api.Stdout {
					t.Errorf("limit of %s", which)
				}
			}
			sum := stream.Finish()
			if sum.StdoutBytes != limit {
				t.Errorf("%d bytes were sent", sum.StdoutBytes)
			}
			if got := strings.Contains(sum.Cut, fmt.Sprint(limit)); got != (more > 0) {
				t.Errorf("cut %q", sum.Cut)
			}
			if _, _, _, end := s.read(t); end.Cut != sum.Cut {
				t.Errorf("end says %q", end.Cut)
			}
			if !p.budget.TryAcquire(inFlightBytes) {
				t.Error("the budget was not given back")
			}
		})
	}
}

func TestStreamOfAFullStoreIsCutAndDoesNotStopTheFunction(t *testing.T) {
	full := &jetstream.APIError{ErrorCode: codeStoreFailed, Description: "maximum bytes exceeded"}
	s := &store{script: func(n int) fate { return fate{stored: n <= 3, err: errIf(n > 3, full)} }}
	stream, stdout, stderr, p := start(t, t.Context(), s, nil)
	_ = stderr.Close()
	data := text(limit)
	write(t, stdout, data)
	sum := stream.Finish()
	if !strings.Contains(sum.Cut, "cannot store") || sum.Chunks != 3 {
		t.Errorf("sum %+v", sum)
	}
	digest := sha256.Sum256(data[:sum.StdoutBytes])
	if sum.SHA256 != hex.EncodeToString(digest[:]) {
		t.Error("the sum is not of what is stored")
	}
	if !p.budget.TryAcquire(inFlightBytes) {
		t.Error("the budget was not given back")
	}
}

func TestStreamGivesUpWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &store{script: func(n int) fate {
		if n == 3 {
			cancel()
		}
		return fate{err: nats.ErrDisconnected}
	}}
	stream, stdout, stderr, _ := start(t, ctx, s, nil)
	_ = stderr.Close()
	_, _ = stdout.Write([]byte("hello"))
	_ = stdout.Close()
	if sum := stream.Finish(); sum.Cut == "" || sum.StdoutBytes != 0 {
		t.Errorf("sum %+v", sum)
	}
}

// A message id counts in the whole stream of output, where two users may have used one execution
// id, and where another watcher could use an id first that it can guess.
func TestMessageIDsAreNobodyElses(t *testing.T) {
	s := &store{}
	seen := map[string]bool{}
	for range 2 {
		stream, stdout, stderr, _ := start(t, t.Context(), s, nil)
		write(t, stdout, []byte("the same"))
		write(t, stderr, nil)
		stream.Finish()
		for id := range s.ids {
			if seen[id] {
				t.Errorf("the message id %s is used twice", id)
			}
			seen[id] = true
		}
	}
}

// TestMuchGoesAnotherWay: what is printed beyond a bound goes on the connection for much, when all before
// it is stored, and in order; the end and what is little do not.
func TestMuchGoesAnotherWay(t *testing.T) {
	light, bulk := &store{ids: map[string]bool{}}, &store{ids: map[string]bool{}}
	p := newPublisher(light, bulk, 64<<10)
	outR, outW, err1 := os.Pipe()
	errR, errW, err2 := os.Pipe()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	stream := p.Open(t.Context(), outR, errR, Options{
		Subject: "hermes.output.w.o.id", Ref: api.AttemptRef{Owner: "o", ID: "id", Attempt: 1}, LimitBytes: 10 << 20,
	})
	want := text(3 << 20)
	if _, err := outW.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(outW.Close(), errW.Close()); err != nil {
		t.Fatal(err)
	}
	sum := stream.Finish()
	if sum.Cut != "" || sum.StdoutBytes != int64(len(want)) {
		t.Fatalf("%+v", sum)
	}
	var got []byte
	sizes := map[string]int{}
	for name, s := range map[string]*store{"light": light, "bulk": bulk} {
		for _, m := range s.msgs {
			c, err := api.ParseChunk(m)
			if err != nil {
				t.Fatal(err)
			}
			if c.Stream == api.End {
				if name != "light" {
					t.Error("the end goes with what is much")
				}
				continue
			}
			sizes[name] += len(c.Data)
			got = append(got, make([]byte, max(0, int(c.Offset)+len(c.Data)-len(got)))...)
			copy(got[c.Offset:], c.Data)
		}
	}
	if !bytes.Equal(got, want) {
		t.Error("what is stored is not what was printed")
	}
	if sizes["light"] < bulkAfter || sizes["light"] > bulkAfter+streamBytes || sizes["bulk"] == 0 {
		t.Errorf("sizes: %v", sizes)
	}
	if !p.budget.TryAcquire(inFlightBytes) || !stream.share.TryAcquire(streamBytes) {
		t.Error("something is held although all is stored")
	}
}
