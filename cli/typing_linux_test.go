package cli

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermes-serverless/hermes/cli/iostreams"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// TestTypingThroughFaults types into runs that print what they read, while connections, the services
// and the NATS server are cut off and come back: each reads every byte once, in order, and its end.
func TestTypingThroughFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 20 s")
	}
	seed := drawnSeed(t)
	f := newFaulty(t)
	r := rand.New(rand.NewPCG(seed, 0))
	over, stopped := make(chan struct{}), make(chan struct{})
	go func() { defer close(stopped); f.disturb(r, over) }()
	var work sync.WaitGroup
	for n := range faultyRuns {
		own := rand.New(rand.NewPCG(seed, uint64(1+n)))
		work.Go(func() { f.converse(t, own) })
	}
	work.Wait()
	close(over)
	<-stopped
	t.Logf("cut off were %v", f.cuts)
}

// converse types at random rates, for about printTime, and compares.
func (f *faulty) converse(t *testing.T, r *rand.Rand) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := api.NewClient(f.connectRelayed(), "ana")
	defer client.Conn().Close()
	ask := api.Run{ID: api.NewID(), Function: events.FunctionRef{Name: "echo"}, Interactive: true}
	for {
		_, err := send[api.Accepted](ctx, f.client, api.OpRun, ask)
		if err == nil {
			break
		}
		if !api.IsKind(err, api.Unavailable) || ctx.Err() != nil {
			t.Error(err)
			return
		}
	}
	in, keys := io.Pipe()
	var notes safeBuffer
	stop := newApp(&iostreams.Streams{In: in, Err: &notes}).newTyping(client, ask.ID).forward(ctx)
	defer stop()
	var typed bytes.Buffer
	for begin := time.Now(); time.Since(begin) < printTime; {
		piece := make([]byte, r.IntN(20_000))
		for i := range piece {
			piece[i] = byte(r.IntN(256))
		}
		typed.Write(piece)
		if _, err := keys.Write(piece); err != nil {
			t.Error(err)
			return
		}
		time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
	}
	_ = keys.Close()
	printed := f.printed(ask.ID)
	e, err := testApp().untilEnd(ctx, f.client, api.ExecutionRef{ID: ask.ID})
	if err != nil || e.Status != executions.Success || notes.String() != "" {
		t.Errorf("it ended %s %s, %v; noted %q", e.Status, e.Message, err, notes.String())
	}
	sum := events.NewBlobWriter(io.Discard)
	_, _ = sum.Write(typed.Bytes())
	if printed != typed.String() || e.Given == nil || e.Given.Input.Blob == nil || *e.Given.Input.Blob != sum.Blob() {
		t.Errorf("it read %d bytes of %d, recorded %+v; its output is %+v", len(printed), typed.Len(), e.Given, e.Output)
	}
}

// TestTypingWithoutRoom: a question can be asked, and its answer read, also when the function takes
// nothing of what was typed before.
func TestTypingWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, keys := io.Pipe()
		typing := newApp(&iostreams.Streams{In: in}).newTyping(nil, "")
		go typing.read()
		typed := strings.Repeat("x", waitingBytes+(20<<10))
		if _, err := io.WriteString(keys, typed); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // until it waits for room
		answers := make(chan string, 1)
		if !typing.answer(answers) {
			t.Fatal("nothing is read any more")
		}
		if _, err := io.WriteString(keys, "c\nbehind it"); err != nil {
			t.Fatal(err)
		}
		if got := <-answers; got != "c" {
			t.Errorf("answered %q", got)
		}
		_ = keys.Close()
		var sent strings.Builder
		for end := false; !end; {
			var piece []byte
			piece, end = typing.piece(t.Context())
			sent.Write(piece)
			typing.drop(len(piece))
		}
		if sent.String() != typed+"behind it" {
			t.Errorf("%d bytes were sent of %d", sent.Len(), len(typed)+9)
		}
		if typing.answer(answers) {
			t.Error("an answer is expected behind the end")
		}
	})
}
