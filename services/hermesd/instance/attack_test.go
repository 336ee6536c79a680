package instance_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// targets are subjects that neither a watcher nor a user may write, of each kind that means
// something in the account that holds the streams.
var targets = []string{
	"hermes.execution.0.ana.FORGED", "hermes.function.ana.forged", "hermes.watcher.forged", "hermes.user.forged", "hermes.audit.operator_acted", "hermes.audit.login_failed", "hermes.admin.root.user.list", "hermes.login.X.state",
	"hermes.archive.ana.209901", "hermes.run.other.FORGED", "hermes.output.other.ana.FORGED",
	"hermes.watch.other.leave", "hermes.watch.other.report", "hermes.cancel.other", "hermes.input.other", "hermes.stale.other", "hermes.api.bob.info", "hermes.api.bob.execution.list", "hermes.queue.leader.position", "hermes.queue.leader.fleet", "hermes.queue.leader.gpus", "hermes.admin.root.watcher.drain",
	"$KV.hermes_executions.forged", "$KV.hermes_leases.watcher.other", "$KV.hermes_secrets.password.forged", "$KV.hermes_leases.leader.orchestrator",
	"$O.hermes_blobs.M.forged", "$O.hermes_blobs.C.forged",
	"$JS.API.STREAM.PURGE.HERMES_OUTPUT", "$SYS.REQ.USER.AUTH", "$SYS.REQ.SERVER.X.KICK", "$JS.API.STREAM.DELETE.HERMES_RUNS", "$JS.API.CONSUMER.CREATE.HERMES_EXECUTIONS",
}

// attack sends every request that the key may send with everything that makes a server write
// somewhere else: a reply subject, a consumer's delivery subject, a trace, a roll-up. It returns how
// many it sent. What they do is seen by the caller. own are payloads that leave the sender's own
// things as they are, by subject.
func attack(t *testing.T, nc *nats.Conn, subjects []string, own map[string][]byte) (sent int) {
	t.Helper()
	for _, subject := range subjects {
		for _, target := range targets {
			data := payloads(subject, target)
			if same, ok := own[subject]; ok {
				data = [][]byte{same}
			}
			for _, payload := range data {
				for _, header := range []nats.Header{nil, {"Nats-Trace-Dest": {target}}, {"Nats-Rollup": {"all"}}, {"Nats-Rollup": {"sub"}}} {
					m := &nats.Msg{Subject: subject, Reply: target, Header: header, Data: payload}
					if err := nc.PublishMsg(m); err != nil {
						t.Fatalf("%s: %v", subject, err)
					}
					sent++
				}
			}
		}
		if _, ok := own[subject]; !ok {
			// In this order: each has been worked on when the next is.
			_, _ = nc.Request(subject, []byte(`{"no":"such"}`), 50*time.Millisecond)
		}
	}
	return sent
}

// payloads make a request do as much as it can.
func payloads(subject, target string) [][]byte {
	if _, api, ok := strings.Cut(subject, "CONSUMER.CREATE."); ok {
		stream, _, _ := strings.Cut(api, ".")
		config := func(filter string) []byte {
			return fmt.Appendf(nil, `{"stream_name":%q,"config":{"name":"forger","deliver_subject":%q,"deliver_policy":"all","ack_policy":"none","filter_subject":%q}}`,
				stream, target, filter)
		}
		return [][]byte{config(""), config("$O.hermes_blobs.>")}
	}
	return [][]byte{
		[]byte(`{"no":"such"}`), []byte(`{"batch":1,"no_wait":true}`), []byte(`{"seq":1,"batch":2,"max_bytes":100000}`),
		[]byte(`{"last_by_subj":"$O.hermes_blobs.>"}`), []byte("+TERM"), nil,
	}
}

// permitted are the subjects that the key with this seed may publish on, by the configuration that
// the server has read, with words in the place of wildcards.
func permitted(t *testing.T, p place, key string, words ...string) []string {
	t.Helper()
	seed, err := os.ReadFile(p.key(key))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(p.conf)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(opts.Nkeys, func(u *server.NkeyUser) bool { return u.Nkey == public })
	if at < 0 || opts.Nkeys[at].Permissions == nil {
		t.Fatalf("the configuration does not confine %s", key)
	}
	var subjects []string
	for _, pattern := range opts.Nkeys[at].Permissions.Publish.Allow {
		stem, wild := strings.CutSuffix(strings.ReplaceAll(pattern, "*", "forged"), ">")
		if !wild {
			subjects = append(subjects, stem)
			continue
		}
		for _, word := range words {
			subjects = append(subjects, stem+word)
		}
	}
	return subjects
}

// wiretap hears everything in the account that holds the streams.
type wiretap struct {
	nc  *nats.Conn
	end string
	// over is closed when the message that ends the tap is heard; heard is complete then: the
	// messages on the targets, by subject, one of each, but for those of the leader's own lease.
	over  chan struct{}
	heard map[string]string
}

func tap(t *testing.T, operator *nats.Conn, leader []byte) *wiretap {
	t.Helper()
	w := &wiretap{nc: operator, end: "test.end." + api.NewID(), over: make(chan struct{}), heard: map[string]string{}}
	sub, err := operator.Subscribe(">", func(m *nats.Msg) {
		select {
		case <-w.over:
			return // what was heard is read
		default:
		}
		switch {
		case m.Subject == w.end:
			close(w.over)
		case slices.Contains(targets, m.Subject) && !bytes.Equal(m.Data, leader):
			w.heard[m.Subject] = string(m.Data)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sub.SetPendingLimits(-1, -1), operator.Flush()); err != nil {
		t.Fatal(err)
	}
	return w
}

// stop returns what was heard until now.
func (w *wiretap) stop(t *testing.T) map[string]string {
	t.Helper()
	if err := w.nc.Publish(w.end, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.over:
		return w.heard
	case <-time.After(time.Minute):
		t.Fatal("the tap hears nothing")
		return nil
	}
}

// stored is how many messages each subject of each stream has, but for what the attacked key may
// write, for the keys of live executions, which go a moment after their ends, and for the history,
// which nobody can publish to and which follows the executions' events a moment later.
func stored(t *testing.T, js jetstream.JetStream) map[string]uint64 {
	t.Helper()
	counts := map[string]uint64{}
	names := js.StreamNames(t.Context())
	for name := range names.Name() {
		if name == streams.History {
			continue
		}
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(">"))
		if err != nil {
			t.Fatal(err)
		}
		for subject, n := range info.State.Subjects {
			if !strings.HasPrefix(subject, "hermes.output.local.") && !strings.HasPrefix(subject, "$KV.hermes_executions.active.") {
				counts[name+" "+subject] = n
			}
		}
	}
	if names.Err() != nil {
		t.Fatal(names.Err())
	}
	return counts
}

// compare returns how many are not as they were.
func compare(t *testing.T, before, after map[string]uint64) (changed int) {
	t.Helper()
	for what, n := range after {
		if before[what] != n {
			changed++
			t.Errorf("%s went from %d messages to %d", what, before[what], n)
		}
	}
	for what, n := range before {
		if after[what] == 0 {
			changed++
			t.Errorf("%s had %d messages and has none", what, n)
		}
	}
	return changed
}

// victim is an instance to attack: what is in it, and what its operator sees.
type victim struct {
	place
	operator *nats.Conn
	js       jetstream.JetStream
	leases   jetstream.KeyValue
	before   map[string]uint64
	ears     *wiretap
}

func newVictim(t *testing.T, open func(*testing.T) place) *victim {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	v := &victim{place: open(t)}
	user, _ := as(t, v.place, "user", api.InboxPrefix("ana"))
	c := api.NewClient(user, "ana")
	deploy(t.Context(), t, c, map[string]string{
		"hermes.config.json": `{"functionName":"hello","language":"cpp","gpuCapable":false,"functionVersion":"1.0.0","handler":"./run.sh"}`,
		"Makefile":           "all:\n\t@true\nclean:\n\t@true\n", "run.sh": "#!/bin/sh\necho '{}'\n",
	})
	id := api.NewID()
	if _, err := api.Call[api.Accepted](t.Context(), c, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Name: "hello"}}); err != nil {
		t.Fatal(err)
	}
	wait(t.Context(), t, c, id)
	v.operator, _ = as(t, v.place, "operator", "")
	var err error
	if v.js, err = jetstream.New(v.operator); err != nil {
		t.Fatal(err)
	}
	// Another watcher, with a request in its queue.
	for _, subject := range []string{"$KV.hermes_leases.watcher.other", "$KV.hermes_secrets.password.forged", "hermes.run.other.ana.WAITS", "hermes.output.other.ana.RAN"} {
		if _, err := v.js.Publish(t.Context(), subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if v.leases, err = v.js.KeyValue(t.Context(), streams.BucketLeases); err != nil {
		t.Fatal(err)
	}
	return v
}

// listen remembers how the instance is, and hears everything from now on.
func (v *victim) listen(t *testing.T) {
	t.Helper()
	leader, err := v.leases.Get(t.Context(), "leader.orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	v.before, v.ears = stored(t, v.js), tap(t, v.operator, leader.Value())
}

// checkUnhurt compares the instance with what it was when listen was called. It returns how much is not
// as it was.
func (v *victim) checkUnhurt(t *testing.T) (forged int) {
	t.Helper()
	heard := v.ears.stop(t)
	for subject, data := range heard {
		t.Errorf("a request made the server publish on %s: %.100q", subject, data)
	}
	forged = len(heard) + compare(t, v.before, stored(t, v.js))
	checkNobodyAcknowledges(t, v.js)
	return forged
}

// forgers are the operations with which a user tries to have something written elsewhere.
var forgers = []string{
	api.OpInfo, api.OpExecutionList, api.OpExecutionInspect, api.OpExecutionOutput, api.OpFunctionList, api.OpFunctionInspect, api.OpBlobBegin, api.OpKeysList,
	api.OpExecutionHistory, api.OpEvents, api.OpRerun,
}

// harmless are requests of a user that are answered and change nothing.
func harmless(user string) map[string][]byte {
	return map[string][]byte{
		api.Subject(user, api.OpInfo): []byte("{}"), api.Subject(user, api.OpKeysList): []byte("{}"), api.Subject(user, api.OpExecutionOutput): []byte(`{"number":2}`),
		api.Subject(user, api.OpExecutionHistory): []byte(`{"number":2}`), api.Subject(user, api.OpEvents): []byte(`{"since":"2020-01-01T00:00:00Z"}`),
	}
}

// TestNobodyForges: whatever a request makes the server write, it is not written where who sent it may not
// write. The server publishes replies, deliveries of consumers and traces with its own rights, so
// permissions do not confine them: accounts must.
func TestNobodyForges(t *testing.T) {
	everywhereAndOnACluster(t, func(t *testing.T, open func(*testing.T) place) {
		var carl connection
		var guest identity
		v := newVictim(t, func(t *testing.T) place {
			p := open(t)
			carl, guest = registered(t, p, "carl").connect(t, p, "carl"), newIdentity(t)
			return p
		})
		t.Run("the configuration's user", func(t *testing.T) {
			user, _ := as(t, v.place, "user", api.InboxPrefix("ana"))
			v.bears(t, user, permitted(t, v.place, "user", forgers...), harmless("ana"))
		})
		t.Run("who registered", func(t *testing.T) {
			var subjects []string
			for _, op := range forgers {
				subjects = append(subjects, api.Subject("carl", op))
			}
			v.bears(t, carl.Conn(), subjects, harmless("carl"))
		})
		t.Run("a guest", func(t *testing.T) {
			state := api.LoginSubject(guest.public, api.OpKeyState)
			v.bears(t, guest.guest(t, v.place), []string{state}, map[string][]byte{state: []byte("{}")})
		})
		t.Run("the watcher", func(t *testing.T) { v.bearsWatcher(t) })
	})
}

// bears attacks and compares the instance with what it was.
func (v *victim) bears(t *testing.T, nc *nats.Conn, subjects []string, own map[string][]byte) {
	t.Helper()
	v.listen(t)
	sent := attack(t, nc, subjects, own)
	t.Logf("%d requests on %d subjects", sent, len(subjects))
	count(t, found{probes: sent, forged: v.checkUnhurt(t)})
}

// bearsWatcher is bears of the watcher, whose lease is its own.
func (v *victim) bearsWatcher(t *testing.T) {
	watcher, _ := as(t, v.place, "watcher", instance.WatcherInbox("local"))
	name := "M." + base64.URLEncoding.EncodeToString([]byte("forged"))
	subjects := permitted(t, v.place, "watcher", "hello", "claim", "report", "leave", "ana.FORGED", name, "$O.hermes_blobs."+name)
	lease, err := v.leases.Get(t.Context(), api.LeaseKey("local"))
	if err != nil {
		t.Fatal(err)
	}
	own := map[string][]byte{}
	for _, subject := range subjects {
		if strings.HasSuffix(subject, "$KV.hermes_leases.watcher.local") && !strings.Contains(subject, ".GET.") {
			own[subject] = lease.Value()
		}
	}
	if len(own) != 1 {
		t.Fatalf("the watcher may write its lease on %v", own)
	}
	v.bears(t, watcher, subjects, own)

	// The instance's watcher finds its lease and renews it.
	after, err := v.leases.Get(t.Context(), api.LeaseKey("local"))
	for renewed := after; err == nil && renewed.Revision() == after.Revision(); {
		if renewed, err = v.leases.Get(t.Context(), api.LeaseKey("local")); err == nil && !bytes.Equal(renewed.Value(), lease.Value()) {
			t.Errorf("the lease was %s and is %s", lease.Value(), renewed.Value())
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// checkNobodyAcknowledges: a reply to $JS.ACK.> is the one that the server lets through from another
// account as it is. It is of no use as long as nothing in the account waits for acknowledgements.
func checkNobodyAcknowledges(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	names := js.StreamNames(t.Context())
	for name := range names.Name() {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for info := range s.ListConsumers(t.Context()).Info() {
			if info.Config.AckPolicy != jetstream.AckNonePolicy {
				t.Errorf("consumer %s of %s waits for acknowledgements, which a watcher could forge", info.Name, name)
			}
		}
	}
}
