package watcher

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs/blobstest"
)

func interactive(r *api.RunRequest) { r.Request.Interactive = true }

// sends hands a piece of its input to an attempt.
func (w *world) sends(ref api.AttemptRef, offset int64, data string, end bool) api.RunInputReply {
	w.t.Helper()
	raw, err := json.Marshal(api.RunInput{AttemptRef: ref, Offset: offset, Data: []byte(data), End: end})
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := w.nc.Request(api.InputSubject(name), raw, patience)
	if err != nil {
		w.t.Fatal(err)
	}
	var reply api.RunInputReply
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		w.t.Fatal(err)
	}
	return reply
}

// printed waits until the watcher has published so much of an attempt's output.
func (w *world) printed(r api.RunRequest) func(want string) {
	w.t.Helper()
	sub, err := w.nc.SubscribeSync(events.OutputSubject(name, r.Owner, r.ID))
	if err != nil {
		w.t.Fatal(err)
	}
	var seen strings.Builder
	return func(want string) {
		w.t.Helper()
		for !strings.HasSuffix(seen.String(), want) {
			m, err := sub.NextMsg(patience)
			if err != nil {
				w.t.Fatalf("%q was not printed, but %q: %v", want, seen.String(), err)
			}
			if m.Header.Get(api.HeaderStream) != api.End {
				seen.Write(m.Data)
			}
		}
	}
}

func TestDialogue(t *testing.T) {
	w := newWorld(t)
	stop := w.watch()
	r := w.request(w.function(`echo name?; read name; echo "$name, age?"; read age; echo "$age."; cat; echo over; exit 3`, 0o755))
	interactive(&r)
	prints := w.printed(r)
	w.place(r)
	prints("name?\n")
	if got := w.sends(r.AttemptRef, 0, "Ada\n", false); got != (api.RunInputReply{Known: true, Offset: 4}) {
		t.Errorf("a piece: %+v", got)
	}
	w.sends(r.AttemptRef, 0, "Ada\n", false) // again
	prints("Ada, age?\n")
	if got := w.sends(r.AttemptRef, 7, "x", true); got != (api.RunInputReply{Known: true, Offset: 4}) {
		t.Errorf("a piece ahead of its turn: %+v", got)
	}
	w.sends(r.AttemptRef, 2, "a\n36\n", false) // in part again
	prints("36.\n")
	for range 2 {
		if got := w.sends(r.AttemptRef, 7, "rest", true); got != (api.RunInputReply{Known: true, Offset: 11, Closed: true}) {
			t.Errorf("the end: %+v", got)
		}
	}
	prints("restover\n")
	report := next(t, "report", w.reports)
	if report.ExitCode != 3 || report.Given == nil || string(report.Given.Input.Inline) != "Ada\n36\nrest" || report.Given.Bytes != 11 {
		t.Errorf("report %+v, given %+v", report, report.Given)
	}
	w.eventually("it is held no more", func() bool { return len(w.watcher.held.refs()) == 0 })
	if got := w.sends(r.AttemptRef, 11, "late", false); got.Known {
		t.Errorf("input for what has ended: %+v", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestLargeInputWhileItRuns is cut at random, each piece may be sent twice, and is stored as it was read.
func TestLargeInputWhileItRuns(t *testing.T) {
	w := newWorld(t)
	w.watch()
	r := w.request(w.function("sha256sum", 0o755))
	interactive(&r)
	typed := strings.Repeat("0123456789abcde\n", 1<<16)
	w.place(r)
	next(t, "claim", w.claims)
	for sent := int64(0); ; {
		n := min(int64(rand.IntN(api.MaxInputPiece)), int64(len(typed))-sent)
		var got api.RunInputReply
		for range 1 + rand.IntN(2) {
			got = w.sends(r.AttemptRef, sent, typed[sent:sent+n], sent+n == int64(len(typed)))
		}
		if sent = got.Offset; got.Closed {
			break
		}
	}
	report := next(t, "report", w.reports)
	blob := blobstest.Blob([]byte(typed))
	stdout, _, _ := w.output(r)
	if !strings.HasPrefix(stdout, strings.TrimPrefix(blob.Digest, "sha256:")) {
		t.Errorf("it read %q, want %s", stdout, blob.Digest)
	}
	if given := report.Given; given == nil || given.Input.Blob == nil || *given.Input.Blob != blob || given.Cut != "" {
		t.Errorf("given %+v", given)
	}
	var kept bytes.Buffer
	if err := w.blobs.Get(t.Context(), blob, &kept); err != nil || kept.String() != typed {
		t.Errorf("kept %d bytes, %v", kept.Len(), err)
	}
}

func TestInputThatNobodyReads(t *testing.T) {
	w := newWorld(t)
	w.watch()
	t.Run("closed by the function", func(t *testing.T) {
		r := w.request(w.function("exec <&-; touch "+w.flag("closed")+"; while [ ! -e "+w.flag("go")+" ]; do sleep 0.01; done", 0o755))
		interactive(&r)
		w.place(r)
		w.eventually("start", func() bool { return exists(w.flag("closed")) })
		w.eventually("it is told that nobody reads", func() bool { return w.sends(r.AttemptRef, 0, "hello", false).Closed })
		if err := os.WriteFile(w.flag("go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if report := next(t, "report", w.reports); report.Outcome != api.Succeeded || string(report.Given.Input.Inline) != "hello" {
			t.Errorf("report %+v, given %+v", report, report.Given)
		}
	})
	t.Run("a cancel ends it", func(t *testing.T) {
		r := w.request(w.function("touch "+w.flag("on")+"; while :; do sleep 0.01; done", 0o755))
		interactive(&r)
		w.place(r)
		w.eventually("start", func() bool { return exists(w.flag("on")) })
		var taken int64
		for full := false; !full; {
			got := w.sends(r.AttemptRef, taken, strings.Repeat("x", api.MaxInputPiece), false)
			full, taken = got.Offset == taken, got.Offset
		}
		w.cancel(r)
		if report := next(t, "report", w.reports); report.Outcome != api.Cancelled || report.Given.Bytes != taken || taken > 1<<20 {
			t.Errorf("report %+v, given %+v", report, report.Given)
		}
	})
}

// TestSilenceOfTheSender: a function is not left to wait for who is gone.
func TestSilenceOfTheSender(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.InputSilence = 100 * time.Millisecond })
	w.watch()
	r, report := w.run("cat; echo end", interactive)
	if stdout, _, _ := w.output(r); report.Outcome != api.Succeeded || stdout != "end\n" {
		t.Errorf("%+v, output %q", report, stdout)
	}
}

func TestInteractiveAndNoAttemptOfItsOwn(t *testing.T) {
	w := newWorld(t)
	w.watch()
	next(t, "hello", w.hellos)
	_, report := w.run("cat") // not interactive
	if report.Given != nil {
		t.Errorf("given %+v", report.Given)
	}
	r := w.request(w.function(until(w.flag("on"), w.flag("go")), 0o755))
	w.place(r)
	w.eventually("start", func() bool { return exists(w.flag("on")) })
	if got := w.sends(r.AttemptRef, 0, "x", false); got.Known {
		t.Errorf("a run that is not interactive takes input: %+v", got)
	}
	if err := os.WriteFile(w.flag("go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next(t, "report", w.reports)
	for what, change := range map[string]func(*api.RunRequest){
		"an input ahead": func(r *api.RunRequest) { r.Request.Input.Inline = []byte("x") },
		"a build":        func(r *api.RunRequest) { r.Request.Kind = events.KindBuild },
		"a retry":        func(r *api.RunRequest) { r.Attempt = 2 },
	} {
		bad := w.request(blobstest.Blob(nil))
		interactive(&bad)
		change(&bad)
		raw, _ := json.Marshal(bad)
		if _, err := parseRequest(&nats.Msg{Subject: events.RunSubject(name, owner, bad.ID), Data: raw}, name); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}
