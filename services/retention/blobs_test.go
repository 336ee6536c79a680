package retention_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/blobs"
	"github.com/hermes-serverless/hermes/services/retention"
)

// shelves is a world with a store.
type shelves struct {
	*world
	store *blobs.Store
}

func newShelves(t *testing.T) *shelves {
	t.Helper()
	w := newWorld(t)
	store, err := blobs.Open(t.Context(), w.js, streams.Blobs)
	if err != nil {
		t.Fatal(err)
	}
	return &shelves{world: w, store: store}
}

func (s *shelves) put(text string, holders ...string) events.Blob {
	s.Helper()
	sum := sha256.Sum256([]byte(text))
	blob := events.Blob{Digest: "sha256:" + hex.EncodeToString(sum[:]), SizeBytes: int64(len(text))}
	if err := s.store.Put(s.Context(), blob, bytes.NewReader([]byte(text))); err != nil {
		s.Fatal(err)
	}
	for _, user := range holders {
		if err := s.store.AddHolder(s.Context(), user, blob.Digest); err != nil {
			s.Fatal(err)
		}
	}
	return blob
}

func (s *shelves) event(stream, subject string, expected uint64, data events.Data) {
	s.Helper()
	s.n++
	event := events.Event{ID: fmt.Sprint("event", s.n), Source: "test", Time: time.Now().UTC(), Data: data}
	if _, err := jslog.New(s.js, stream).Append(s.Context(), subject, expected, event); err != nil {
		s.Fatal(err)
	}
}

// collector is one to which so much more time has gone by.
func (s *shelves) collector(later time.Duration) retention.Blobs {
	return retention.Blobs{
		Store: s.store, Functions: jslog.New(s.js, streams.Functions), Bases: jslog.New(s.js, streams.Bases), Users: jslog.New(s.js, streams.Users),
		Executions: s.log, Views: s.views, Keep: 7 * 24 * time.Hour, Grace: 24 * time.Hour,
		Now: func() time.Time { return time.Now().Add(later) }, Log: slog.New(slog.DiscardHandler),
	}
}

func (s *shelves) collect(c retention.Blobs) retention.Collection {
	s.Helper()
	found, err := c.Collect(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return found
}

func (s *shelves) has(blob events.Blob) bool {
	s.Helper()
	has, err := s.store.Has(s.Context(), blob.Digest)
	if err != nil {
		s.Fatal(err)
	}
	return has
}

const days = 24 * time.Hour

// TestNeededContentStays: each kind of reference keeps its content, and nothing else is kept.
func TestNeededContentStays(t *testing.T) {
	s := newShelves(t)
	kept := map[string]events.Blob{}
	for _, name := range []string{"bundle", "artifact", "pending", "base", "input of a live run", "source of a live run"} {
		kept[name] = s.put(name, "ana")
	}
	young := map[string]events.Blob{}
	for _, name := range []string{"input of an ended run", "artifact of an ended build"} {
		young[name] = s.put(name, "ana")
	}
	nobody := []events.Blob{s.put("nobody's", "ana", "bob"), s.put("deleted", "ana")}

	pi := events.FunctionSubject("ana", "pi")
	s.event(streams.Functions, pi, 0, events.FunctionRegistered{Version: "1.0.0", Build: "b1", Bundle: kept["bundle"], Base: "host"})
	s.event(streams.Functions, pi, 1, events.FunctionBuilt{Version: "1.0.0", Build: "b1", BuiltBy: "b1", Artifact: kept["artifact"]})
	s.event(streams.Functions, pi, 2, events.FunctionRegistered{Version: "2.0.0", Build: "b2", Bundle: kept["pending"], Base: "host"})
	old := events.FunctionSubject("ana", "old")
	s.event(streams.Functions, old, 0, events.FunctionRegistered{Version: "1.0.0", Build: "b3", Bundle: nobody[1], Base: "host"})
	s.event(streams.Functions, old, 4, events.FunctionBuilt{Version: "1.0.0", Build: "b3", BuiltBy: "b3", Artifact: nobody[1]})
	s.event(streams.Functions, old, 5, events.FunctionDeleted{Versions: []string{"1.0.0"}})
	s.event(streams.Bases, "hermes.base.gcc", 0, events.BaseImported{Image: kept["base"], Architecture: "amd64"})
	live, ended := "01JDY3M8WZ0000000000000001", "01JDY3M8WZ0000000000000002"
	in, over := kept["input of a live run"], young["input of an ended run"]
	s.append(live, events.ExecutionRequested{Kind: events.KindRun, Source: kept["source of a live run"], Input: events.Input{Blob: &in}})
	made := young["artifact of an ended build"]
	s.append(ended, events.ExecutionRequested{Kind: events.KindBuild, Input: events.Input{Blob: &over}}, events.ExecutionStarted{Attempt: 1, Watcher: "w1"},
		events.ExecutionSucceeded{Attempt: 1, Artifact: &made})
	s.settled()

	if c := s.collect(s.collector(time.Hour)); len(c.Removed) != 0 || c.Kept != 10 || c.Notes != 0 {
		t.Fatalf("within the grace: %+v", c)
	}
	dry := s.collector(2 * days)
	dry.DryRun = true
	if c := s.collect(dry); len(c.Removed) != 2 || c.Kept != 8 || c.Notes != 3 || !s.has(nobody[0]) {
		t.Fatalf("a dry run: %+v", c)
	}
	c := s.collect(s.collector(2 * days))
	if len(c.Removed) != 2 || !slices.Contains(c.Removed, nobody[0]) || !slices.Contains(c.Removed, nobody[1]) || c.RemovedBytes != 15 || c.Notes != 3 {
		t.Fatalf("after the grace: %+v", c)
	}
	for name, blob := range kept {
		if !s.has(blob) {
			t.Errorf("the %s is gone", name)
		}
	}
	if c := s.collect(s.collector(2 * days)); len(c.Removed)+c.Notes+c.Unfinished != 0 {
		t.Errorf("again: %+v", c)
	}
	c = s.collect(s.collector(8 * days))
	if len(c.Removed) != 2 || s.has(young["input of an ended run"]) || s.has(young["artifact of an ended build"]) || c.Kept != 6 {
		t.Errorf("after the executions' time: %+v", c)
	}
	for name, blob := range kept {
		if err := s.store.Get(t.Context(), blob, io.Discard); err != nil {
			t.Errorf("the %s cannot be read: %v", name, err)
		}
	}
	if info, err := s.js.Stream(t.Context(), streams.BlobsStream(streams.Blobs)); err != nil || info.CachedInfo().State.NumSubjects != 6*3 {
		t.Errorf("the store has %d subjects, %v; want three for each of 6 blobs: name, content and the note of its holder", info.CachedInfo().State.NumSubjects, err)
	}
}

// TestKeptContentStays: who asked to keep content between the look and the removal has it, and who
// comes later is told that it is gone.
func TestKeptContentStays(t *testing.T) {
	s := newShelves(t)
	blob := s.put("wanted again", "ana")
	names, err := s.store.Stored(t.Context())
	if err != nil || len(names) != 2 {
		t.Fatalf("%+v, %v", names, err)
	}
	// Renewed as Keep does it when the name is old enough.
	objects, err := s.js.ObjectStore(t.Context(), streams.Blobs)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range names {
		if one.Holder != "" {
			continue
		}
		info, err := objects.GetInfo(t.Context(), blob.Digest[len("sha256:"):])
		if err != nil {
			t.Fatal(err)
		}
		if err := objects.UpdateMeta(t.Context(), info.Name, info.ObjectMeta); err != nil {
			t.Fatal(err)
		}
		if gone, err := s.store.Forget(t.Context(), one); gone || err != nil {
			t.Errorf("what was renewed is forgotten: %t, %v", gone, err)
		}
	}
	if err := s.store.Get(t.Context(), blob, io.Discard); err != nil {
		t.Fatal(err)
	}
	if c := s.collect(s.collector(2 * days)); len(c.Removed) != 1 || c.Notes != 1 {
		t.Fatalf("%+v", c)
	}
	if kept, err := s.store.Keep(t.Context(), blob.Digest); kept || err != nil {
		t.Errorf("what is gone was kept: %t, %v", kept, err)
	}
	if holds, err := s.store.IsHolder(t.Context(), "ana", blob.Digest); holds || err != nil {
		t.Errorf("what is gone has a holder: %t, %v", holds, err)
	}
	if err := s.store.Get(t.Context(), blob, io.Discard); !errors.Is(err, blobs.ErrNoBlob) {
		t.Errorf("what is gone: %v", err)
	}
	s.put("wanted again", "ana")
	if holds, err := s.store.IsHolder(t.Context(), "ana", blob.Digest); !holds || err != nil {
		t.Errorf("uploaded again: %t, %v", holds, err)
	}
}

// TestWhoLeftHoldsNothing: notes of a user who is gone go, though the content is another's too.
func TestWhoLeftHoldsNothing(t *testing.T) {
	s := newShelves(t)
	blob := s.put("shared", "ana", "bob", "local")
	s.event(streams.Bases, "hermes.base.gcc", 0, events.BaseImported{Image: blob, Architecture: "amd64"})
	for name, sequence := range map[string]uint64{"ana": 0, "bob": 0} {
		s.event(streams.Users, events.UserSubject(name), sequence, events.UserRegistered{})
	}
	last, err := jslog.New(s.js, streams.Users).Head(t.Context(), events.UserSubject("bob"))
	if err != nil {
		t.Fatal(err)
	}
	s.event(streams.Users, events.UserSubject("bob"), last, events.UserUnregistered{By: "bob"})
	if c := s.collect(s.collector(2 * days)); c.Notes != 1 || c.Kept != 1 {
		t.Fatalf("%+v", c)
	}
	for user, want := range map[string]bool{"ana": true, "bob": false, "local": true} {
		if holds, err := s.store.IsHolder(t.Context(), user, blob.Digest); holds != want || err != nil {
			t.Errorf("%s holds it: %t, %v", user, holds, err)
		}
	}
}

// TestUnfinishedUploadsGo: chunks of an upload that died, and what a deletion leaves.
func TestUnfinishedUploadsGo(t *testing.T) {
	s := newShelves(t)
	for range 3 {
		if _, err := s.js.Publish(t.Context(), "$O."+streams.Blobs+".C.dead", make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	gone := s.put("deleted by name")
	if err := s.store.Delete(t.Context(), gone.Digest); err != nil {
		t.Fatal(err)
	}
	if c := s.collect(s.collector(time.Hour)); c.Unfinished != 0 {
		t.Fatalf("within the grace: %+v", c)
	}
	if c := s.collect(s.collector(2 * days)); c.Unfinished != 1 || c.UnfinishedBytes < 1000 || c.Kept != 0 {
		t.Fatalf("after the grace: %+v", c)
	}
	info, err := s.js.Stream(t.Context(), streams.BlobsStream(streams.Blobs))
	if err != nil || info.CachedInfo().State.Msgs != 0 {
		t.Errorf("%d messages stay, %v", info.CachedInfo().State.Msgs, err)
	}
}
