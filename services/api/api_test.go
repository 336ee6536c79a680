package api_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/services/api"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func connect(t *testing.T) *nats.Conn {
	t.Helper()
	return natstest.Connect(t).Conn()
}

func serve(t *testing.T, nc *nats.Conn) *api.Server {
	t.Helper()
	s, err := api.NewServer(nc, "test", "1.2.3", "a test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestCallsCarryTheCallerAndTheError(t *testing.T) {
	nc := connect(t)
	s := serve(t, nc)
	err := api.HandleUser(s, api.OpRun, func(_ context.Context, caller string, ask api.Run) (api.Accepted, error) {
		switch ask.Function.Name {
		case "panics":
			panic("on purpose")
		case "breaks":
			return api.Accepted{}, errors.New("a detail that is nobody's business")
		case "refused":
			return api.Accepted{}, api.Errorf(api.NotFound, api.NoSuchFunction, "no such\nfunction").WithHint("look").WithDetail("more")
		}
		return api.Accepted{ID: ask.ID + " of " + caller}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	call := func(name string) (api.Accepted, error) {
		return api.Call[api.Accepted](t.Context(), api.NewClient(nc, "ana"), api.OpRun, api.Run{ID: "1", Function: events.FunctionRef{Name: name}})
	}
	if got, err := call("works"); err != nil || got.ID != "1 of ana" {
		t.Errorf("got %+v, %v", got, err)
	}
	want := api.Error{Kind: api.NotFound, Name: api.NoSuchFunction, Message: "no such\nfunction", Hint: "look", Detail: "more"}
	if _, err := call("refused"); err == nil {
		t.Error("no error")
	} else if got, ok := api.AsError(err); !ok || *got != want {
		t.Errorf("got %+v, want %+v", err, want)
	}
	for _, name := range []string{"breaks", "panics"} {
		_, err := call(name)
		if !api.IsKind(err, api.Internal) || strings.Contains(err.Error(), "business") || strings.Contains(err.Error(), "purpose") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestUnknownFieldsAreRefused(t *testing.T) {
	nc := connect(t)
	s := serve(t, nc)
	err := api.HandleUser(s, api.OpInfo, func(context.Context, string, api.InfoRequest) (api.Info, error) { return api.Info{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.Call[api.Info](t.Context(), api.NewClient(nc, "ana"), api.OpInfo, map[string]int{"surplus": 1})
	if !api.IsKind(err, api.Invalid) || !strings.Contains(err.Error(), "surplus") {
		t.Errorf("got %v", err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	c := api.NewClient(connect(t), "ana")
	if _, err := api.Call[api.Info](t.Context(), c, api.OpInfo, api.InfoRequest{}); !api.IsKind(err, api.Unavailable) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := api.Call[api.Info](ctx, c, api.OpInfo, api.InfoRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
}

func TestUploadStopsWhenTheContentIsThere(t *testing.T) {
	nc := connect(t)
	s := serve(t, nc)
	err := api.HandleUser(s, api.OpBlobBegin, func(context.Context, string, api.BlobBegin) (api.BlobUpload, error) {
		return api.BlobUpload{Have: true}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var told int64
	err = api.NewClient(nc, "ana").Upload(t.Context(), events.Blob{SizeBytes: 3}, strings.NewReader("abc"), func(n int64) { told = n })
	if err != nil || told != 3 {
		t.Errorf("told of %d bytes, %v", told, err)
	}
}

func TestChunksSurviveTheirMessage(t *testing.T) {
	c := api.Chunk{Attempt: 2, Stream: api.Stderr, Offset: 77, Time: time.Now().UTC(), Data: []byte("hi\x00\xff")}
	got, err := api.ParseChunk(c.Message("hermes.output.w.ana.1", "1"))
	if err != nil || got.Attempt != 2 || got.Stream != api.Stderr || got.Offset != 77 || !got.Time.Equal(c.Time) || !bytes.Equal(got.Data, c.Data) {
		t.Errorf("got %+v, %v", got, err)
	}
	for header, bad := range map[string]string{
		api.HeaderStream: "stdwhat", api.HeaderOffset: "-1", api.HeaderAttempt: "0", api.HeaderTime: "noon",
	} {
		m := c.Message("hermes.output.w.ana.1", "1")
		m.Header.Set(header, bad)
		if _, err := api.ParseChunk(m); err == nil {
			t.Errorf("%s: %q was taken", header, bad)
		}
	}
	if _, err := c.End(); err == nil {
		t.Error("a chunk was taken for the end")
	}
}

func TestPageIsCutAsItSays(t *testing.T) {
	page := api.OutputPage{Attempt: 1, Pieces: []api.OutputPiece{{Stream: api.Stdout, Bytes: 2}, {Stream: api.Stderr, Offset: 2, Bytes: 3}}}
	chunks, err := page.Chunks([]byte("abcde"))
	if err != nil || len(chunks) != 2 || string(chunks[0].Data) != "ab" || string(chunks[1].Data) != "cde" {
		t.Errorf("got %+v, %v", chunks, err)
	}
	if _, err := page.Chunks([]byte("abcd")); err == nil {
		t.Error("a page shorter than it says was taken")
	}
}

func TestInboxNamesItsUser(t *testing.T) {
	if user, err := api.UserOfInbox(api.InboxPrefix("ana")); err != nil || user != "ana" {
		t.Errorf("got %q, %v", user, err)
	}
	for _, bad := range []string{"_INBOX", "_INBOX_", "_INBOX_a.b", "_INBOX_*"} {
		if user, err := api.UserOfInbox(bad); err == nil {
			t.Errorf("%q is taken for the inbox of %q", bad, user)
		}
	}
}

func TestMeIsTheCaller(t *testing.T) {
	for owner, want := range map[string]string{"": "ana", "me": "ana", "ana": "ana", "bob": "bob"} {
		if got := api.OwnerOf(owner, "ana"); got != want {
			t.Errorf("%q means %q, want %q", owner, got, want)
		}
	}
}

// TestOneCannotHoldTheOthersUp: somebody has asked for as much as is taken of them, and none of it ends;
// others are answered, and what is beyond all measure is refused by name.
func TestOneCannotHoldTheOthersUp(t *testing.T) {
	nc := connect(t)
	end := make(chan struct{})
	s := serve(t, nc)
	err := api.HandleUser(s, api.OpInfo, func(_ context.Context, caller string, _ api.InfoRequest) (api.Info, error) {
		if caller == "eve" {
			<-end
		}
		return api.Info{User: caller}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	eve, err := nats.Connect(nc.ConnectedUrl())
	if err != nil {
		t.Fatal(err)
	}
	defer eve.Close()
	inbox := eve.NewInbox()
	answers, err := eve.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		if err := eve.PublishRequest(api.Subject("eve", api.OpInfo), inbox, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	first, err := answers.NextMsg(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(first.Data), api.TooManyRequests) {
		t.Errorf("the first answer is %s", first.Data)
	}
	for range 20 {
		info, err := api.Call[api.Info](t.Context(), api.NewClient(nc, "ana"), api.OpInfo, api.InfoRequest{})
		if err != nil || info.User != "ana" {
			t.Fatalf("somebody else: %+v, %v", info, err)
		}
	}
	close(end)
}
