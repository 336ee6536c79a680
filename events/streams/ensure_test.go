package streams_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/events/streams"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func ensure(t *testing.T, js jetstream.JetStream, o streams.Options) []streams.Change {
	t.Helper()
	changes, err := streams.Ensure(t.Context(), js, o)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func TestEnsureCreatesOnce(t *testing.T) {
	js := natstest.Connect(t)
	var synced []string
	o := streams.Options{
		OutputBytes: 1 << 20, DataDir: "store",
		Sync: func(dir string) error { synced = append(synced, dir); return nil },
	}
	changes := ensure(t, js, o)
	if want := len(o.All()); len(changes) != want {
		t.Fatalf("%d changes, want %d: %v", len(changes), want, changes)
	}
	for _, c := range changes {
		if !c.Created {
			t.Errorf("%s on an empty server", c)
		}
	}
	if again := ensure(t, js, o); again != nil {
		t.Errorf("the second call changed %v", again)
	}
	if !slices.Equal(synced, []string{"store"}) {
		t.Errorf("synced %v, want the store once", synced)
	}
}

func TestEnsureSyncsTheStore(t *testing.T) {
	js := natstest.Connect(t)
	ensure(t, js, streams.Options{OutputBytes: 1 << 20, DataDir: t.TempDir()})
	_, err := streams.Ensure(t.Context(), js, streams.Options{OutputBytes: 2 << 20, DataDir: "/nonexistent"})
	if err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("a failed sync passed: %v", err)
	}
}

func TestEnsureUpdates(t *testing.T) {
	js := natstest.Connect(t)
	ensure(t, js, streams.Options{OutputBytes: 1 << 20})
	changes := ensure(t, js, streams.Options{OutputBytes: 2 << 20, OutputAge: 8 * 24 * time.Hour})
	var got []string
	for _, c := range changes {
		got = append(got, c.String())
	}
	want := []string{
		"updated HERMES_OUTPUT: MaxBytes: 1048576 → 2097152, MaxAge: 168h0m0s → 192h0m0s",
	}
	if !slices.Equal(got, want) {
		t.Errorf("changes %q, want %q", got, want)
	}
	if changes := ensure(t, js, streams.Options{}); changes != nil {
		t.Errorf("bounds that nobody asked for were changed: %v", changes)
	}
}

func TestEnsureKeepsWhatItDoesNotManage(t *testing.T) {
	js, o := natstest.Connect(t), streams.Options{OutputBytes: 1 << 20}
	ensure(t, js, o)
	stream, err := js.Stream(t.Context(), streams.Fleet)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.Metadata = map[string]string{"team": "hpc"}
	config.MaxConsumers = 7
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if changes := ensure(t, js, o); len(changes) != 1 || changes[0].Stream != streams.Fleet {
		t.Errorf("changes %v, want one", changes)
	}
	if stream, err = js.Stream(t.Context(), streams.Fleet); err != nil {
		t.Fatal(err)
	}
	if config = stream.CachedInfo().Config; config.Metadata["team"] != "hpc" || config.MaxConsumers == 7 {
		t.Errorf("metadata %v, %d consumers", config.Metadata, config.MaxConsumers)
	}
}

func TestEnsureRefusesLoss(t *testing.T) {
	for name, c := range map[string]struct {
		o    streams.Options
		edit func(*jetstream.StreamConfig)
		want string
	}{
		"age":     {o: streams.Options{OutputAge: time.Hour}, want: "maximum age"},
		"bytes":   {o: streams.Options{OutputBytes: 1 << 10}, want: "maximum bytes"},
		"subject": {edit: func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "hermes.more.*") }, want: "subject hermes.more.*"},
		"limit":   {edit: func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			js, before := natstest.Connect(t), streams.Options{OutputBytes: 1 << 20}
			ensure(t, js, before)
			if c.edit != nil {
				edit(t, js, c.edit)
			}
			if c.o.OutputBytes == 0 {
				c.o.OutputBytes = before.OutputBytes
			}
			changes, err := streams.Ensure(t.Context(), js, c.o)
			if c.want == "" {
				if err != nil || len(changes) != 1 {
					t.Fatalf("a limit was not lifted: %v, %v", changes, err)
				}
				return
			}
			var loss *streams.LossError
			if !errors.Is(err, streams.ErrLoss) || !errors.As(err, &loss) || !strings.Contains(err.Error(), c.want) || changes != nil {
				t.Fatalf("%v, %v, want a refusal that says %q", changes, err, c.want)
			}
			c.o.AllowLoss = true
			if changes := ensure(t, js, c.o); len(changes) == 0 {
				t.Error("allowed, and nothing changed")
			}
		})
	}
}

// TestOutputMayGo: who allows the loss of output allows no other.
func TestOutputMayGo(t *testing.T) {
	js := natstest.Connect(t)
	ensure(t, js, streams.Options{OutputBytes: 1 << 20})
	edit(t, js, func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "hermes.more.*") })
	o := streams.Options{OutputAge: time.Hour, OutputBytes: 1 << 10, AllowOutputLoss: true}
	if _, err := streams.Ensure(t.Context(), js, o); !errors.Is(err, streams.ErrLoss) || strings.Contains(err.Error(), "age") {
		t.Fatalf("%v, want a refusal to drop the subject", err)
	}
	edit(t, js, func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:1] })
	if changes := ensure(t, js, o); len(changes) != 1 || changes[0].Stream != streams.Output {
		t.Errorf("changes %v, want those of the output", changes)
	}
}

func edit(t *testing.T, js jetstream.JetStream, change func(*jetstream.StreamConfig)) {
	t.Helper()
	stream, err := js.Stream(t.Context(), streams.Functions)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	change(&config)
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// TestBucketsAndBlobsAreOrdinary uses what was provisioned with the client's own types.
func TestBucketsAndBlobsAreOrdinary(t *testing.T) {
	js := natstest.Connect(t)
	ensure(t, js, streams.Options{OutputBytes: 1 << 20})
	for _, bucket := range []string{streams.BucketFunctions, streams.BucketExecutions, streams.BucketFleet, streams.BucketUsers, streams.BucketBases, streams.BucketLeases} {
		kv, err := js.KeyValue(t.Context(), bucket)
		if err != nil {
			t.Fatalf("%s: %v", bucket, err)
		}
		revision, err := kv.Create(t.Context(), "key", []byte("value"))
		if err != nil {
			t.Fatalf("%s: %v", bucket, err)
		}
		if _, err := kv.Update(t.Context(), "key", []byte("more"), revision); err != nil {
			t.Fatalf("%s: %v", bucket, err)
		}
	}
	leases, err := js.KeyValue(t.Context(), streams.BucketLeases)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leases.Create(t.Context(), "short", []byte("x"), jetstream.KeyTTL(time.Second)); err != nil {
		t.Errorf("a key with a TTL: %v", err)
	}
	store, err := js.ObjectStore(t.Context(), streams.Blobs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutBytes(t.Context(), "blob", make([]byte, 300<<10)); err != nil {
		t.Fatal(err)
	}
	if data, err := store.GetBytes(t.Context(), "blob"); err != nil || len(data) != 300<<10 {
		t.Errorf("blob: %d bytes, %v", len(data), err)
	}
}

// TestHistoryKeepsTheOrigin appends to an execution and finds it in the history.
func TestHistoryKeepsTheOrigin(t *testing.T) {
	js := natstest.Connect(t)
	ensure(t, js, streams.Options{OutputBytes: 1 << 20})
	const id = "01JDY3M8WZ0000000000000000"
	subject := events.ExecutionSubject("alice", id)
	if _, err := jslog.New(js, streams.Executions).Append(t.Context(), subject, 0, events.Event{
		ID: "event", Source: "test", Time: time.Unix(0, 0), Data: events.ExecutionCancelRequested{By: "alice"},
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	history := jslog.New(js, streams.History)
	for _, err := range history.Follow(ctx, ">", 1) {
		if err != nil {
			t.Fatal(err)
		}
		break // it has arrived
	}
	n := 0
	for r, err := range jslog.NewWhole(js, streams.History, streams.Executions).Read(ctx, 1) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; r.Subject != subject || r.Sequence != 1 || r.ID != "event" {
			t.Errorf("history holds %+v", r)
		}
	}
	if n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

// TestWhatIsDeniedForGoodStays: a stream that an earlier Hermes made, and that holds something, goes on as it is.
func TestWhatIsDeniedForGoodStays(t *testing.T) {
	js, o := natstest.Connect(t), streams.Options{}
	denies := map[string]bool{streams.Functions: true, streams.Executions: true, streams.Users: true, streams.History: true, streams.Audit: true}
	for _, c := range o.All() {
		if denies[c.Name] {
			c.DenyDelete, c.DenyPurge = true, true
		}
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.Publish(t.Context(), "hermes.user.ana", nil); err != nil {
		t.Fatal(err)
	}
	ensure(t, js, o)
	for name := range denies {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		c := stream.CachedInfo().Config
		if stuck := c.DenyDelete && c.DenyPurge; stuck != (name == streams.Users) {
			t.Errorf("%s denies deletes: %t, purges: %t", name, c.DenyDelete, c.DenyPurge)
		}
	}
	if again := ensure(t, js, o); again != nil {
		t.Errorf("the second call changed %v", again)
	}
}

// TestEnsureOnAnOlderServer: what an earlier Hermes made is brought up to date, losing nothing.
func TestEnsureOnAnOlderServer(t *testing.T) {
	js, o := natstest.Connect(t), streams.Options{}
	for _, c := range o.All() {
		switch c.Name {
		case streams.Executions:
			c.MaxAge = 30 * 24 * time.Hour
		case streams.Runs:
			c.Subjects = []string{"hermes.run.*.*"}
		case streams.BucketStream(streams.BucketLeases):
			c.AllowRollup, c.SubjectDeleteMarkerTTL = true, time.Second
		case streams.Archive:
			c.DenyPurge, c.AllowAtomicPublish = true, false
		}
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if changes := ensure(t, js, o); len(changes) != 4 {
		t.Errorf("changes %v, want those of the executions, the archive, the runs and the leases", changes)
	}
	if again := ensure(t, js, o); again != nil {
		t.Errorf("the second call changed %v", again)
	}
	for subject, lost := range map[string]bool{"hermes.run.w.ana.X": false, "hermes.run.>": false, "hermes.more.>": true, "hermes.run": true} {
		stream, err := js.Stream(t.Context(), streams.Runs)
		if err != nil {
			t.Fatal(err)
		}
		config := stream.CachedInfo().Config
		config.Subjects = []string{subject}
		if _, err := js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		if _, err := streams.Ensure(t.Context(), js, o); errors.Is(err, streams.ErrLoss) != lost {
			t.Errorf("from the subject %s: %v", subject, err)
		}
		config.Subjects = []string{"hermes.run.>"}
		if _, err := js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
}
