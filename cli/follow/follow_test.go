package follow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

type following struct {
	t      *testing.T
	server *fakeServer
	screen *screen
	live   chan Message
	// reconnected is what the connection says.
	reconnected chan struct{}
	cancel      context.CancelFunc
	done        chan struct{}
	exec        api.Execution
	err         error
}

// follow starts to follow a fake server's execution, in a bubble of fake time.
func follow(t *testing.T, fromStart bool, prepare func(*fakeServer), script func(*following)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &following{
			t: t, server: newFakeServer(), screen: &screen{},
			live: make(chan Message), reconnected: make(chan struct{}, 1), done: make(chan struct{}),
		}
		if prepare != nil {
			prepare(f.server)
		}
		ctx, cancel := context.WithCancel(t.Context())
		f.cancel = cancel
		o := f.screen.options(f.server, f.live)
		f.screen.mayBegin = f.server.gone != nil
		o.FromStart, o.Reconnected = fromStart, f.reconnected
		o.Attempt, o.From = f.server.fromAttempt, f.server.from
		f.screen.attempt, f.screen.next = o.Attempt, o.From
		go func() {
			defer close(f.done)
			f.exec, f.err = Follow(ctx, o)
		}()
		script(f)
		cancel()
		<-f.done
	})
}

func (f *following) send(m Message) {
	f.t.Helper()
	select {
	case f.live <- m:
	case <-f.done:
	}
}

// sees waits, without time passing, until everything has settled and compares stdout|stderr.
func (f *following) sees(want string) {
	f.t.Helper()
	synctest.Wait()
	if got := f.screen.text(); got != want {
		f.t.Errorf("the screen shows %q, want %q", got, want)
	}
}

func (f *following) ends(wantErr string) {
	f.t.Helper()
	<-f.done
	e, _ := api.AsError(f.err)
	switch {
	case wantErr == "" && f.err != nil:
		f.t.Errorf("ended with %v", f.err)
	case wantErr != "" && (e == nil || e.Name != wantErr):
		f.t.Errorf("ended with %v, want %s", f.err, wantErr)
	}
}

func (f *following) noted(part string) {
	f.t.Helper()
	if notes := f.screen.said(); !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, part) }) {
		f.t.Errorf("the notes %q do not say %q", notes, part)
	}
}

func TestOutputIsShownAsItArrives(t *testing.T) {
	follow(t, false, nil, func(f *following) {
		f.server.start(1, "w")
		f.send(f.server.print(api.Stdout, "one "))
		f.sees("one |")
		f.send(f.server.print(api.Stderr, "oops"))
		f.send(f.server.print(api.Stdout, "two"))
		f.sees("one two|oops")
		f.send(f.server.finish(executions.Success))
		f.ends("")
		if f.exec.Status != executions.Success {
			t.Errorf("status %s", f.exec.Status)
		}
		if f.server.inspects != 0 || f.server.outputs != 0 {
			t.Errorf("%d inspects and %d pages were asked for, want none", f.server.inspects, f.server.outputs)
		}
	})
}

func TestNothingLiveArrives(t *testing.T) {
	follow(t, false, func(s *fakeServer) { s.pageBytes = 3 }, func(f *following) {
		f.server.start(1, "w")
		for i := range 10 {
			f.server.print(api.Stdout, fmt.Sprint(i))
		}
		f.server.finish(executions.Success)
		f.ends("")
		f.sees("0123456789|")
	})
}

// TestGapsAreFilledFromWhereTheStoreWasLeft: what was read of the store is not read again for each gap.
func TestGapsAreFilledFromWhereTheStoreWasLeft(t *testing.T) {
	follow(t, false, func(s *fakeServer) { s.pageBytes = 1 }, func(f *following) {
		f.server.start(1, "w")
		const chunks = 40
		for i := range chunks {
			m := f.server.print(api.Stdout, string(rune('a'+i%26)))
			if i%4 == 3 { // the three before it were lost
				f.send(m)
			}
		}
		f.send(f.server.finish(executions.Success))
		f.ends("")
		if f.server.read > 10*chunks {
			t.Errorf("%d chunks were read for %d", f.server.read, chunks)
		}
	})
}

func TestReattachShowsWhatWasPrinted(t *testing.T) {
	prepare := func(s *fakeServer) {
		s.start(1, "w")
		s.print(api.Stdout, "before ")
	}
	follow(t, true, prepare, func(f *following) {
		f.sees("before |")
		f.send(f.server.print(api.Stdout, "after"))
		f.sees("before after|")
		f.send(f.server.finish(executions.Success))
		f.ends("")
	})
}

func TestForgedOutputIsNotShown(t *testing.T) {
	follow(t, false, nil, func(f *following) {
		f.server.start(1, "w")
		genuine := f.server.print(api.Stdout, "genuine")
		forged := genuine
		forged.Watcher = "thief"
		forged.Chunk.Data = []byte("FORGED!")
		f.send(forged)
		f.sees("|")
		f.send(genuine)
		f.send(forged)
		f.sees("genuine|")
		for range 100 {
			f.send(forged)
		}
		if f.server.inspects > 1 {
			t.Errorf("forged output cost %d requests", f.server.inspects)
		}
		f.send(f.server.finish(executions.Success))
		f.ends("")
	})
}

func TestViewThatLagsBehind(t *testing.T) {
	follow(t, false, nil, func(f *following) {
		// The chunk is here before the view shows who runs the attempt.
		early := Message{Watcher: "w", Chunk: api.Chunk{Attempt: 1, Stream: api.Stdout, Data: []byte("early")}}
		f.send(early)
		f.sees("|")
		f.server.start(1, "w")
		f.server.print(api.Stdout, "early")
		f.send(f.server.print(api.Stdout, " late"))
		f.sees("early late|")
		f.send(f.server.finish(executions.Success))
		f.ends("")
	})
}

// TestNewsOfTheStartThatDoesNotCome: what was asked may be lost with a connection.
func TestNewsOfTheStartThatDoesNotCome(t *testing.T) {
	follow(t, false, nil, func(f *following) {
		f.server.change(func() { f.server.deaf = true })
		f.server.start(1, "w")
		f.send(f.server.print(api.Stdout, "early "))
		f.send(f.server.print(api.Stdout, "birds"))
		f.sees("|")
		time.Sleep(learnAfter)
		f.sees("early birds|")
		if f.server.inspects != 1 || f.server.outputs != 0 {
			t.Errorf("%d inspects and %d pages were asked for, want 1 and 0", f.server.inspects, f.server.outputs)
		}
		f.server.change(func() { f.server.deaf = false })
		f.send(f.server.finish(executions.Success))
		f.ends("")
	})
}

// TestMuchOutputBeforeTheNewsOfTheStart: what there is no room for comes from the store.
func TestMuchOutputBeforeTheNewsOfTheStart(t *testing.T) {
	follow(t, false, nil, func(f *following) {
		f.server.change(func() { f.server.deaf = true })
		f.server.start(1, "w")
		want := ""
		for range 2 * maxEarly {
			f.send(f.server.print(api.Stdout, "x"))
			want += "x"
		}
		f.server.change(func() { f.server.deaf = false })
		f.send(f.server.print(api.Stdout, "y"))
		f.sees(want + "y|")
		f.send(f.server.finish(executions.Success))
		f.ends("")
	})
}

func TestLaterAttemptStartsAnew(t *testing.T) {
	follow(t, false, nil, func(f *following) {
		f.server.start(1, "w1")
		old := f.server.print(api.Stdout, "first ")
		f.send(old)
		f.sees("first |") // taken before the next attempt is known
		f.server.start(2, "w2")
		f.send(f.server.print(api.Stdout, "second"))
		f.send(old)
		f.sees("first second|")
		f.noted("attempt 1 was lost; attempt 2 prints from the beginning")
		f.send(f.server.finish(executions.Success))
		f.ends("")
	})
}

func TestServerThatGoesAwayAndComesBack(t *testing.T) {
	follow(t, false, nil, func(f *following) {
		f.server.start(1, "w")
		f.send(f.server.print(api.Stdout, "a"))
		f.sees("a|") // and knows who runs it
		f.server.change(func() { f.server.away = true })
		time.Sleep(1500 * time.Millisecond) // the bubble's time
		f.noted("away; waiting for it to come back")
		f.server.print(api.Stdout, "b") // nobody hears it
		f.server.change(func() { f.server.away = false })
		f.reconnected <- struct{}{}
		f.sees("ab|")
		f.send(f.server.print(api.Stdout, "c"))
		f.send(f.server.finish(executions.Success))
		f.ends("")
		f.sees("abc|")
		f.noted("the server is back")
	})
}

// TestServerThatFallsSilent: no connection breaks, the answer just does not come.
func TestServerThatFallsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &screen{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = Follow(ctx, s.options(silent{}, nil))
		}()
		time.Sleep(shortWait + answerTime + time.Millisecond) // the bubble's time
		if notes := s.said(); len(notes) != 1 || notes[0] != "no answer; waiting for it to come back" {
			t.Errorf("the notes are %q", notes)
		}
		cancel()
		<-done
	})
}

type silent struct{ refusing }

func (silent) Wait(ctx context.Context, _ uint64, d time.Duration) (api.Execution, error) {
	pause(ctx, d+answerTime)
	return api.Execution{}, api.Errorf(api.Unavailable, api.ServerUnavailable, "no answer")
}

func TestQueuePositionIsTold(t *testing.T) {
	prepare := func(s *fakeServer) { s.exec.Position = 7 }
	follow(t, false, prepare, func(f *following) {
		time.Sleep(1500 * time.Millisecond) // the bubble's time
		f.noted("queued, position 7")
		f.server.change(func() { f.server.exec.Position = 3 })
		time.Sleep(1500 * time.Millisecond)
		f.noted("queued, position 3")
		f.server.change(func() { f.server.exec.Status = executions.Cancelled })
		f.ends("")
	})
}

func TestWhatIsDoneBeforeTheStartIsTold(t *testing.T) {
	prepare := func(s *fakeServer) { s.exec.Doing = "fetching the base gcc, 80 MiB: 10 %" }
	follow(t, false, prepare, func(f *following) {
		time.Sleep(2500 * time.Millisecond) // the bubble's time
		f.noted("fetching the base gcc, 80 MiB: 10 %")
		f.server.change(func() { f.server.exec.Doing = "unpacking the base gcc" })
		time.Sleep(1500 * time.Millisecond)
		f.noted("unpacking the base gcc")
		f.server.change(func() { f.server.exec.Status = executions.Cancelled })
		f.ends("")
	})
}

func TestExecutionThatAppearsLate(t *testing.T) {
	follow(t, false, func(s *fakeServer) { s.notYet = true }, func(f *following) {
		time.Sleep(time.Second) // the bubble's time
		f.server.change(func() { f.server.notYet = false })
		f.server.start(1, "w")
		f.send(f.server.print(api.Stdout, "x"))
		f.send(f.server.finish(executions.Success))
		f.ends("")
		f.sees("x|")
	})
}

func TestOutputThatIsNoLongerStored(t *testing.T) {
	follow(t, false, nil, func(f *following) {
		f.server.start(1, "w")
		f.server.print(api.Stdout, "gone")
		f.server.change(func() {
			f.server.exec.Output.StdoutBytes = 4
			f.server.exec.Status = executions.Success
			f.server.chunks = nil
		})
		f.ends(OutputIncomplete)
	})
}

// TestOutputOfWhichTheBeginningIsGone shows the rest, at once, and is no success.
func TestOutputOfWhichTheBeginningIsGone(t *testing.T) {
	for _, left := range []int{0, 1, 2} {
		prepare := func(s *fakeServer) {
			s.start(1, "w")
			s.print(api.Stdout, "one ")
			s.print(api.Stderr, "two ")
			s.finish(executions.Success)
			s.letGo(2-left, "it went on Sunday")
		}
		follow(t, true, prepare, func(f *following) {
			begun := time.Now()
			want := map[int]string{0: OutputIncomplete, 1: OutputIncomplete, 2: ""}[left]
			f.ends(want)
			f.sees(map[int]string{0: "|", 1: "|two ", 2: "one |two "}[left])
			if e, _ := api.AsError(f.err); want != "" && (e.Hint != "it went on Sunday" || !strings.HasPrefix(e.Message, fmt.Sprintf("%d of 8 bytes", 8-4*left))) {
				t.Errorf("it says %q, %q", e.Message, e.Hint)
			}
			if took := time.Since(begun); took > time.Second {
				t.Errorf("it waited for %s", took)
			}
		})
	}
}

func TestOutputThatIsNotWhatWasPrinted(t *testing.T) {
	follow(t, false, nil, func(f *following) {
		f.server.start(1, "w")
		f.send(f.server.print(api.Stdout, "evil"))
		f.server.mu.Lock()
		f.server.chunks[0].Data = []byte("good")
		f.server.mu.Unlock()
		f.server.finish(executions.Success)
		f.ends(OutputCorrupt)
	})
}

func TestLostExecution(t *testing.T) {
	follow(t, false, nil, func(f *following) {
		f.server.start(1, "w")
		f.server.print(api.Stdout, "the last words")
		f.server.change(func() { f.server.exec.Status = executions.Lost })
		f.ends("")
		f.sees("the last words|")
	})
}

func TestErrorOfTheServerEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := api.Errorf(api.NotFound, api.NoSuchRun, "no")
		s := &screen{}
		_, err := Follow(t.Context(), s.options(refusing{refused}, nil))
		if !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
	})
}

type refusing struct{ err error }

func (r refusing) Wait(context.Context, uint64, time.Duration) (api.Execution, error) {
	return api.Execution{}, r.err
}
func (r refusing) Inspect(context.Context) (api.Execution, error) { return api.Execution{}, r.err }
func (r refusing) Output(context.Context, int64, uint64) (api.OutputPage, []api.Chunk, error) {
	return api.OutputPage{}, nil, r.err
}

func TestCancelledContextEndsIt(t *testing.T) {
	follow(t, false, nil, func(f *following) {
		f.server.start(1, "w")
		f.send(f.server.print(api.Stdout, "x"))
		f.sees("x|")
		f.cancel()
		<-f.done
		if !errors.Is(f.err, context.Canceled) || f.exec.Attempt != 1 {
			t.Errorf("got %v and attempt %d", f.err, f.exec.Attempt)
		}
	})
}

// TestAnyLossShowsEverything: whatever happens to the live messages, each byte comes out once, in
// order.
func TestAnyLossShowsEverything(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		texts := rapid.SliceOfN(rapid.StringMatching(`[a-z]{0,5}`), 0, 20).Draw(r, "chunks")
		streams := rapid.SliceOfN(rapid.SampledFrom([]string{api.Stdout, api.Stderr}), len(texts), len(texts)).Draw(r, "streams")
		// Which are delivered, how often and in which order.
		delivered := rapid.SliceOfN(rapid.IntRange(0, max(0, len(texts)-1)), 0, 40).Draw(r, "delivered")
		page := rapid.IntRange(1, 20).Draw(r, "page")
		follow(t, false, func(s *fakeServer) { s.pageBytes = page }, func(f *following) {
			f.server.start(1, "w")
			var sent []Message
			var out, errOut strings.Builder
			for i, text := range texts {
				sent = append(sent, f.server.print(streams[i], text))
				if streams[i] == api.Stdout {
					out.WriteString(text)
				} else {
					errOut.WriteString(text)
				}
			}
			for _, i := range delivered {
				if i < len(sent) {
					f.send(sent[i])
				}
			}
			f.send(f.server.finish(executions.Success))
			f.ends("")
			f.sees(out.String() + "|" + errOut.String())
		})
	})
}

// TestAnyLossShowsTheRest is TestAnyLossShowsEverything from an offset, which may be behind the end.
func TestAnyLossShowsTheRest(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		texts := rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,5}`), 1, 20).Draw(r, "chunks")
		early := rapid.IntRange(0, len(texts)).Draw(r, "printed before")
		delivered := rapid.SliceOfN(rapid.IntRange(0, len(texts)-1), 0, 40).Draw(r, "delivered")
		whole := strings.Join(texts, "")
		from := rapid.IntRange(0, len(whole)+3).Draw(r, "from")
		var sent []Message
		prepare := func(s *fakeServer) {
			s.pageBytes = rapid.IntRange(1, 20).Draw(r, "page")
			s.start(1, "w")
			s.fromAttempt, s.from = 1, int64(from)
			for _, text := range texts[:early] {
				sent = append(sent, s.print(api.Stdout, text))
			}
		}
		follow(t, true, prepare, func(f *following) {
			for _, text := range texts[early:] {
				sent = append(sent, f.server.print(api.Stdout, text))
			}
			for _, i := range delivered {
				f.send(sent[i])
			}
			f.send(f.server.finish(executions.Success))
			f.ends("")
			f.sees(whole[min(from, len(whole)):] + "|")
		})
	})
}

// TestLaterAttemptIsShownWhole although the one before it was shown from its middle.
func TestLaterAttemptIsShownWhole(t *testing.T) {
	prepare := func(s *fakeServer) {
		s.start(1, "w1")
		s.print(api.Stdout, "first")
		s.fromAttempt, s.from = 1, 3
	}
	follow(t, true, prepare, func(f *following) {
		f.sees("st|")
		f.server.start(2, "w2")
		f.send(f.server.print(api.Stdout, "second"))
		f.sees("stsecond|")
		f.send(f.server.finish(executions.Success))
		f.ends("")
	})
}

// TestOffsetOfWhatIsYetToBegin is asked for while the execution is queued.
func TestOffsetOfWhatIsYetToBegin(t *testing.T) {
	prepare := func(s *fakeServer) { s.from = 3 }
	follow(t, true, prepare, func(f *following) {
		f.screen.attempt = 1
		f.server.start(1, "w1")
		f.send(f.server.print(api.Stdout, "first"))
		f.send(f.server.print(api.Stdout, " more"))
		f.sees("st more|")
		f.send(f.server.finish(executions.Success))
		f.ends("")
	})
}

// TestTheRestIsOfTheRightLength: of a part no sum can be told, but its end can.
func TestTheRestIsOfTheRightLength(t *testing.T) {
	a := newAssembly(func(api.Chunk) error { return nil })
	a.begin(1, 3)
	if err := a.take(api.Chunk{Attempt: 1, Stream: api.Stdout, Data: []byte("abcdef")}); err != nil {
		t.Fatal(err)
	}
	if err := a.verify(events.Output{StdoutBytes: 6, SHA256: "whatever"}); err != nil {
		t.Errorf("all of it: %v", err)
	}
	if err := a.verify(events.Output{StdoutBytes: 5}); err == nil {
		t.Error("more than was printed was taken for it")
	}
}

func TestAssemblyCutsOverlaps(t *testing.T) {
	var got strings.Builder
	a := newAssembly(func(c api.Chunk) error { got.Write(c.Data); return nil })
	for _, c := range []api.Chunk{
		{Attempt: 1, Stream: api.Stdout, Offset: 2, Data: []byte("cdef")},
		{Attempt: 1, Stream: api.Stdout, Offset: 2, Data: []byte("cd")},
		{Attempt: 1, Stream: api.Stdout, Offset: 0, Data: []byte("abc")},
		{Attempt: 1, Stream: api.Stdout, Offset: 4, Data: []byte("efgh")},
	} {
		if err := a.take(c); err != nil {
			t.Fatal(err)
		}
	}
	if got.String() != "abcdefgh" || a.next != 8 || a.gap() || a.aheadBytes != 0 {
		t.Errorf("wrote %q, next %d, gap %v, ahead %d", got.String(), a.next, a.gap(), a.aheadBytes)
	}
}

func TestAssemblyBoundsWhatItKeeps(t *testing.T) {
	a := newAssembly(func(api.Chunk) error { return nil })
	for i := range 100 {
		if err := a.take(api.Chunk{Attempt: 1, Stream: api.Stdout, Offset: 1 + int64(i)<<20, Data: make([]byte, 1<<20)}); err != nil {
			t.Fatal(err)
		}
	}
	if a.aheadBytes > maxAheadBytes {
		t.Errorf("keeps %d bytes", a.aheadBytes)
	}
}
