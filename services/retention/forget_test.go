package retention_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/projections/projector"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/retention"
)

// mark is in everything that ana has. Its length makes it the same in base64 wherever it begins a value.
const mark = "mark-of-ana_"

// town is a world with the logs and views of functions and users too, in which ana and bob live.
type town struct {
	*shelves
	model      *model
	projectors []*projector.Projector
	ends       []func()
	// common is what both have uploaded, anas what bob runs of hers.
	common, anas events.Blob
}

func newTown(t *testing.T) *town {
	t.Helper()
	tn := &town{shelves: newShelves(t)}
	tn.model = &model{world: tn.world, of: map[string][]*executions.Execution{}}
	tn.start()
	return tn
}

// start projects all logs, with projectors that know nothing.
func (tn *town) start() {
	tn.world.stop()
	tn.projector = tn.newProjector()
	tn.projectors = []*projector.Projector{
		tn.projector,
		projector.New(projector.Options{JS: tn.js, Log: jslog.New(tn.js, streams.Functions), Projection: functions.Projection}),
		projector.New(projector.Options{JS: tn.js, Log: jslog.New(tn.js, streams.Users), Projection: users.Projection}),
	}
	tn.views = views.New(tn.js, tn.log, tn.projectors...)
	tn.ends = nil
	for _, p := range tn.projectors {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		tn.ends = append(tn.ends, sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				tn.Errorf("project %s: %v", p.Bucket(), err)
			}
		}))
	}
	tn.world.stop = func() {
		for _, end := range tn.ends {
			end()
		}
	}
	tn.Cleanup(tn.world.stop)
}

// user appends to a user's events.
func (tn *town) user(name string, all ...events.Data) {
	tn.Helper()
	for _, data := range all {
		tn.n++
		event := events.Event{ID: fmt.Sprint("event", tn.n), Source: "test", Time: time.Now().UTC(), Data: data}
		if err := log.AppendLast(tn.Context(), jslog.New(tn.js, streams.Users), events.UserSubject(name), event); err != nil {
			tn.Fatal(err)
		}
	}
}

// live lets ana and bob have everything that there is.
func (tn *town) live() {
	tn.Helper()
	for _, name := range []string{"ana", "bob"} {
		label := strings.ReplaceAll(mark, "ana", name)
		tn.user(name, events.UserRegistered{}, events.UserKeyEnrolled{PublicKey: "U" + name, Label: label + "laptop"}, events.UserQuotaSet{GPUs: 1})
		tn.has1(name, label)
	}
	ref := events.FunctionRef{Owner: "ana", Name: "public", Version: "1.0.0"}
	tn.model.add("bob", nil, events.ExecutionRequested{Kind: events.KindRun, Function: ref, Source: tn.anas}, events.ExecutionStarted{Attempt: 1, Watcher: "w1"},
		events.ExecutionSucceeded{Attempt: 1})
	for _, name := range []string{"ana", "bob"} {
		for _, data := range []events.Data{
			events.LoginSucceeded{User: name, Address: "192.0.2.1"}, events.LoginFailed{User: name, Address: "192.0.2.1", Reason: events.LoginPassword},
			events.KeyUsed{User: name, PublicKey: "U" + name, Address: "192.0.2.1"}, events.OperatorActed{Action: "user.invite", About: name},
		} {
			tn.n++
			event := events.Event{ID: fmt.Sprint("event", tn.n), Source: "test", Time: time.Now().UTC(), Data: data}
			if err := log.AppendLast(tn.Context(), jslog.New(tn.js, streams.Audit), events.AuditSubject(data.Type()), event); err != nil {
				tn.Fatal(err)
			}
		}
	}
}

// has1 gives a user functions, executions, content and output, with the label in all of it.
func (tn *town) has1(name, label string) {
	tn.Helper()
	bundle, input, results := tn.put(label+"bundle", name), tn.put(label+"input", name), tn.put(label+"results", "watcher.w1")
	made := label + "artifact"
	if name == "ana" {
		made = "what bob runs"
	}
	artifact := tn.put(made, "watcher.w1")
	if name == "ana" {
		tn.anas = artifact
	}
	tn.common = tn.put("what both have", name)
	config := events.FunctionConfig{Scope: "public", Handler: label + "handler", Args: []string{label}, Env: map[string]string{"LEVEL": label}}
	subject := events.FunctionSubject(name, label+"function")
	tn.event(streams.Functions, subject, 0, events.FunctionRegistered{Version: "1.0.0", Config: config, Bundle: bundle, Build: "b1", Base: "host"})
	head := func() uint64 {
		at, err := jslog.New(tn.js, streams.Functions).Head(tn.Context(), subject)
		if err != nil {
			tn.Fatal(err)
		}
		return at
	}
	tn.event(streams.Functions, subject, head(), events.FunctionBuilt{Version: "1.0.0", Build: "b1", BuiltBy: "b1", Artifact: artifact})
	tn.event(streams.Functions, subject, head(), events.FunctionAliasSet{Alias: label, Version: "2.0.0"}) // goes to quarantine
	tn.event(streams.Functions, subject, head(), events.FunctionDeleted{Versions: []string{"1.0.0"}})
	ask := events.ExecutionRequested{
		Kind: events.KindRun, Function: events.FunctionRef{Owner: name, Name: label + "function", Version: "1.0.0"}, Source: artifact,
		Args: []string{label}, Env: map[string]string{"LEVEL": label}, Batch: &events.BatchRef{ID: "01JDY3M8WZ0000000000000777"},
	}
	for i := range 3 {
		ask.Input = events.Input{Inline: []byte(label)}
		if i == 1 {
			ask.Input = events.Input{Blob: &input}
		}
		ask.Batch = &events.BatchRef{ID: ask.Batch.ID, Index: int64(i) + 1}
		e := tn.model.add(name, nil, ask, events.ExecutionStarted{Attempt: 1, Watcher: "w1"},
			events.ExecutionFailed{Attempt: 1, Reason: events.ReasonExit, ExitCode: 1, Message: label + "message", Results: &events.Results{Archive: &results, Files: 1, Cut: label + "file"}})
		for _, subject := range []string{events.OutputSubject("w1", name, e.ID), events.RunSubject("w1", name, e.ID)} {
			if _, err := tn.js.Publish(tn.Context(), subject, []byte(label+"printed")); err != nil {
				tn.Fatal(err)
			}
		}
	}
	if name == "bob" {
		return
	}
	e := tn.model.of[name][2]
	tn.n++
	late := events.Event{ID: fmt.Sprint("event", tn.n), Source: "test", Data: events.ExecutionLost{Attempt: 1, Watcher: label}}
	if _, err := tn.log.Append(tn.Context(), events.ExecutionSubject(name, e.ID), e.Sequence, late); err != nil { // goes to quarantine
		tn.Fatal(err)
	}
}

// leave ends ana's life.
func (tn *town) leave() {
	tn.Helper()
	tn.user("ana", events.UserDisabled{By: "ana", Leaving: true}, events.UserUnregistered{By: "ana"})
}

func (tn *town) forget() retention.Forget {
	blobs := tn.collector(0)
	blobs.Keep = 100 * 365 * days // the model's clock is behind
	return retention.Forget{
		JS: tn.js, Views: tn.views, History: tn.whole, Audit: jslog.New(tn.js, streams.Audit), Blobs: blobs,
		NewID: func() string { tn.n++; return fmt.Sprint("event", tn.n) }, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
}

// messages are all that the server stores, as text: where it is, with what is encoded in it decoded.
func (tn *town) messages() iter.Seq[string] {
	return func(yield func(string) bool) {
		for name := range tn.js.StreamNames(tn.Context()).Name() {
			for next, more := uint64(1), true; more; {
				var some []*rawMessage
				var err error
				if some, more, err = get.Next(tn.Context(), tn.js, name, ">", next, 100); err != nil {
					tn.Fatal(err)
				}
				for _, m := range some {
					text := fmt.Sprintf("%s %s %v %s", name, m.Subject, m.Header, m.Data)
					for _, token := range strings.Split(m.Subject, ".") {
						if raw, err := base64.URLEncoding.DecodeString(token); err == nil {
							text += " " + string(raw)
						}
					}
					if next = m.Sequence + 1; !yield(text) {
						return
					}
				}
			}
		}
	}
}

// wantNothing demands that nothing is stored of ana but what has to be.
func (tn *town) wantNothing() {
	tn.Helper()
	encoded := base64.StdEncoding.EncodeToString([]byte(mark))
	bobs := strings.ReplaceAll(mark, "ana", "bob")
	ofBob := 0
	for text := range tn.messages() {
		if strings.Contains(text, bobs) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(bobs))) {
			ofBob++
		}
		if strings.Contains(text, mark) || strings.Contains(text, encoded) || strings.Contains(text, "Uana") {
			tn.Errorf("this is stored: %s", text)
		}
	}
	if ofBob < 30 {
		tn.Errorf("%d messages tell of bob", ofBob)
	}
	var named []string
	for text := range tn.messages() {
		if strings.Contains(text, "ana") && !strings.HasPrefix(text, "KV_hermes_users") {
			fields := strings.Fields(text)
			named = append(named, fields[0]+" "+fields[1])
		}
	}
	slices.Sort(named)
	said := events.ExecutionsForgottenSubject("ana")
	partition := strings.Split(said, ".")[2]
	bob := tn.model.of["bob"][3] // runs what was ana's
	of := strings.Split(events.ExecutionSubject("bob", bob.ID), ".")[2]
	want := []string{
		"HERMES_ARCHIVE " + events.ArchiveGoneSubject("ana"), "HERMES_AUDIT hermes.audit.operator_acted",
		"HERMES_EXECUTIONS " + events.ExecutionSubject("bob", bob.ID), "HERMES_EXECUTIONS " + said,
		"HERMES_FUNCTIONS " + events.FunctionsForgottenSubject("ana"), "HERMES_HISTORY " + streams.HistorySubjectPrefix + of, "HERMES_HISTORY " + streams.HistorySubjectPrefix + partition,
		"HERMES_USERS hermes.user.ana", "KV_hermes_executions $KV.hermes_executions.block.bob.0", "KV_hermes_executions $KV.hermes_executions." + executions.ViewKey("bob", 4),
	}
	slices.Sort(want)
	if !slices.Equal(named, want) {
		tn.Errorf("ana is named in\n%s\nwant\n%s", strings.Join(named, "\n"), strings.Join(want, "\n"))
	}
}

// wantVerifiedAll demands that all views are the fold of their logs, and that what bob has is whole.
func (tn *town) wantVerifiedAll() {
	tn.Helper()
	for _, p := range tn.projectors {
		if found, err := p.Verify(tn.Context()); err != nil || len(found) != 0 {
			tn.Fatalf("verify %s: %s, %v", p.Bucket(), text(found), err)
		}
	}
	tn.model.world, tn.model.views = tn.world, tn.views
	tn.model.wantAll("bob", 3)
}

// anew empties the buckets and has new projectors fill them again.
func (tn *town) anew() {
	tn.Helper()
	tn.world.stop()
	for _, p := range tn.projectors {
		bucket, err := tn.js.Stream(tn.Context(), streams.BucketStream(p.Bucket()))
		if err != nil {
			tn.Fatal(err)
		}
		if err := bucket.Purge(tn.Context()); err != nil {
			tn.Fatal(err)
		}
	}
	tn.start()
	tn.caughtUp()
}

// caughtUp waits until all views have everything.
func (tn *town) caughtUp() {
	tn.Helper()
	ctx, cancel := context.WithTimeout(tn.Context(), patience)
	defer cancel()
	for stream, bucket := range map[string]string{streams.Executions: streams.BucketExecutions, streams.Functions: streams.BucketFunctions, streams.Users: streams.BucketUsers} {
		head, err := jslog.New(tn.js, stream).Head(ctx, ">")
		if err == nil {
			err = tn.views.WaitFor(ctx, bucket, head)
		}
		if err != nil {
			tn.Fatal(err)
		}
	}
	archive, err := jslog.New(tn.js, streams.Archive).Head(ctx, ">")
	if err == nil && archive > 0 {
		err = tn.views.WaitForArchived(ctx, archive)
	}
	if err != nil {
		tn.Fatal(err)
	}
}

// TestWhoLeavesIsForgotten: whether the archive had something of them or not, nothing of theirs is stored but
// that they are forgotten, and that the name is taken; the views are the fold of what is left, as they are and
// made anew; what others have is untouched, and things go on.
func TestWhoLeavesIsForgotten(t *testing.T) {
	for name, archived := range map[string]bool{"young": false, "archived": true} {
		t.Run(name, func(t *testing.T) {
			tn := newTown(t)
			tn.live()
			tn.settled()
			if archived {
				if err := tn.retain(time.Now().Add(long)); err != nil {
					t.Fatal(err)
				}
			}
			tn.leave()
			tn.caughtUp()
			for range 2 { // the second finds nothing
				if err := tn.forget().Round(t.Context(), retention.Everybody); err != nil {
					t.Fatal(err)
				}
			}
			tn.wantVerifiedAll()
			if !archived { // else what bob has would be found elsewhere
				tn.wantNothing()
			}
			// What only old executions refer to is not kept for anybody.
			if !tn.shelves.has(tn.common) || !archived && !tn.shelves.has(tn.anas) {
				t.Error("content that is bob's too is gone")
			}
			for _, p := range tn.projectors {
				if found, err := p.Rebuild(t.Context()); err != nil || len(found) != 0 {
					t.Errorf("rebuild %s: %s, %v", p.Bucket(), text(found), err)
				}
			}
			tn.anew()
			tn.wantVerifiedAll()
			tn.model.whole("bob")
			tn.settled()
			tn.wantVerifiedAll()
			if err := tn.retain(time.Now().Add(long)); err != nil { // cuts a log that has gaps
				t.Fatal(err)
			}
			tn.wantVerifiedAll()
			tn.anew()
			tn.wantVerifiedAll()
			if u, err := jslog.New(tn.js, streams.Users).Head(t.Context(), events.UserSubject("ana")); err != nil || u == 0 {
				t.Errorf("the name is free again: %d, %v", u, err)
			}
		})
	}
}

// TestTheLastOnesAreForgotten: when all that was last in the logs goes, projectors begin where they were.
func TestTheLastOnesAreForgotten(t *testing.T) {
	tn := newTown(t)
	tn.has1("bob", "b")
	tn.user("bob", events.UserRegistered{})
	tn.user("ana", events.UserRegistered{})
	tn.has1("ana", mark)
	tn.leave()
	tn.settled()
	if err := tn.forget().Round(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	tn.world.stop()
	tn.start()
	tn.wantVerifiedAll()
	tn.anew()
	tn.wantVerifiedAll()
}

var errStopped = errors.New("stopped")

// steps lets so many things happen, and then nothing.
type steps struct {
	left int
}

func (s *steps) next() error {
	if s.left--; s.left < 0 {
		return errStopped
	}
	return nil
}

type stoppedViews struct {
	retention.ForgetViews
	*steps
}

func (v stoppedViews) WaitForFunctions(ctx context.Context, sequence uint64) error {
	return errors.Join(v.next(), v.ForgetViews.WaitForFunctions(ctx, sequence))
}

func (v stoppedViews) WaitForExecutions(ctx context.Context, sequence uint64) error {
	return errors.Join(v.next(), v.ForgetViews.WaitForExecutions(ctx, sequence))
}

func (v stoppedViews) WaitForArchived(ctx context.Context, sequence uint64) error {
	return errors.Join(v.next(), v.ForgetViews.WaitForArchived(ctx, sequence))
}

type stoppedCopies struct {
	retention.Copies
	*steps
}

func (c stoppedCopies) Copied(ctx context.Context) (uint64, error) {
	if err := c.next(); err != nil {
		return 0, err
	}
	return c.Copies.Copied(ctx)
}

func (c stoppedCopies) Each(ctx context.Context, f func(sequence uint64, subject string) error) error {
	if err := c.next(); err != nil {
		return err
	}
	return c.Copies.Each(ctx, func(sequence uint64, subject string) error {
		if events.OwnerOf(subject) == "ana" {
			if err := c.next(); err != nil {
				return err
			}
		}
		return f(sequence, subject)
	})
}

// stoppedLog stops reads.
type stoppedLog struct {
	log.Log
	*steps
}

func (l stoppedLog) Read(ctx context.Context, filter string, from uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		if err := l.next(); err != nil {
			yield(events.Record{}, err)
			return
		}
		l.Log.Read(ctx, filter, from)(yield)
	}
}

// stoppedJS stops requests for streams, which come before each purge.
type stoppedJS struct {
	jetstream.JetStream
	*steps
}

func (j stoppedJS) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	if err := j.next(); err != nil {
		return nil, err
	}
	return j.JetStream.Stream(ctx, name)
}

func (j stoppedJS) PublishMsg(ctx context.Context, m *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if err := j.next(); err != nil {
		return nil, err
	}
	return j.JetStream.PublishMsg(ctx, m, o...)
}

// TestForgettingIsTakenUpAgain: wherever it is stopped, the views stay the fold of the logs, with projectors at
// work and with new ones, and the next round ends it.
func TestForgettingIsTakenUpAgain(t *testing.T) {
	tn := newTown(t)
	tn.live()
	tn.settled()
	if err := tn.retain(tn.model.of["ana"][0].EndedAt); err != nil { // the archive has a part
		t.Fatal(err)
	}
	tn.leave()
	tn.caughtUp()
	for after := 0; ; after++ {
		s := &steps{left: after}
		f := tn.forget()
		f.JS, f.Views, f.History, f.Audit = stoppedJS{f.JS, s}, stoppedViews{f.Views, s}, stoppedCopies{f.History, s}, stoppedLog{f.Audit, s}
		f.Blobs.Executions, f.Blobs.Functions = stoppedLog{f.Blobs.Executions, s}, stoppedLog{f.Blobs.Functions, s}
		err := f.Round(t.Context(), 0)
		if err != nil && !errors.Is(err, errStopped) {
			t.Fatalf("stopped after %d steps: %v", after, err)
		}
		tn.wantVerifiedAll()
		if after%3 == 0 {
			tn.anew()
			tn.wantVerifiedAll()
		}
		if err == nil && s.left >= 0 {
			if after < 20 {
				t.Errorf("there are %d steps", after)
			}
			break
		}
	}
	// All of bob's that the archive took is as it was; of ana nothing is anywhere.
	for text := range tn.messages() {
		if strings.Contains(text, mark) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(mark))) {
			t.Errorf("this is stored: %s", text)
		}
	}
}

// TestRunForgetsWhoLeaves at once, and what comes later of those who left lately at the next start.
func TestRunForgetsWhoLeaves(t *testing.T) {
	tn := newTown(t)
	tn.live()
	tn.settled()
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tn.forget().Run(ctx) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	kept := func(stream, filter string) int {
		s, err := tn.js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(filter))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, of := range info.State.Subjects {
			n += int(of)
		}
		return n
	}
	until := func(is func() bool) {
		t.Helper()
		for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("it never came true")
			}
		}
	}
	stop := run()
	tn.leave()
	until(func() bool { return kept(streams.Users, events.UserSubject("ana")) == 1 })
	stop()
	tn.wantNothing()
	late := events.OutputSubject("w1", "ana", "01JDY3M8WZ0000000000000001")
	if _, err := tn.js.Publish(t.Context(), late, []byte(mark)); err != nil {
		t.Fatal(err)
	}
	stop = run()
	until(func() bool { return kept(streams.Output, late) == 0 })
	stop()
	tn.wantNothing()
}

// TestAnEarlierVersionsStreamsStay as they are: what they deny cannot be allowed, and nothing is said to be gone.
func TestAnEarlierVersionsStreamsStay(t *testing.T) {
	tn := newTown(t)
	tn.live()
	tn.settled()
	stream, err := tn.js.Stream(t.Context(), streams.Executions)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.DenyPurge = true
	if _, err := tn.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if changes, err := streams.Ensure(t.Context(), tn.js, streams.Options{}); err != nil || len(changes) != 0 {
		t.Fatalf("changed %v, %v", changes, err)
	}
	tn.leave()
	tn.caughtUp()
	for range 2 {
		if err := tn.forget().Round(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "HERMES_EXECUTIONS") || !strings.Contains(err.Error(), "hermesd restore") {
			t.Fatalf("the round ends with %v", err)
		}
		tn.wantVerifiedAll()
	}
	if listed, more, err := tn.views.ListExecutions(t.Context(), "ana", 0, 10); err != nil || more || len(listed) != 0 {
		t.Errorf("%d are listed, %t, %v", len(listed), more, err)
	}
	if n := bytes.Count([]byte(text(config)), []byte("deny_purge")); n != 1 {
		t.Errorf("the stream is %s", text(config))
	}
}
