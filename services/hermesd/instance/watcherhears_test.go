package instance_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// withSecret is a function whose config holds what is nobody's business but its owner's.
func withSecret(text string) map[string]string {
	files := maps.Clone(hello("private"))
	files["hermes.config.json"] = strings.Replace(files["hermes.config.json"], `"scope"`, `"env":{"TOKEN":"`+text+`"},"args":["`+text+`"],"scope"`, 1)
	return files
}

// saying tells whether a message has a text.
func saying(text string) func(*nats.Msg) bool {
	return func(m *nats.Msg) bool { return bytes.Contains(m.Data, []byte(text)) }
}

// hearsAll is everything that a watcher may hear, but for the answers to its own questions.
var hearsAll = []string{"hermes.run.local.>", "hermes.cancel.local", "hermes.input.local", "hermes.stale.local"}

// checkWatcherHears: who has a watcher's key hears of a deploy, a change and a deletion neither what stands in
// the config nor who it is, but for what the watcher was given.
func checkWatcherHears(t *testing.T, p place) {
	ctx := t.Context()
	user, _ := as(t, p, "user", api.InboxPrefix("ana"))
	ana := api.NewClient(user, "ana")
	thief, refused := as(t, p, "watcher", instance.WatcherInbox("local"))
	heard := newEars()
	heard.hear(t, thief, hearsAll...)
	for _, subject := range []string{"hermes.function.*.*", "hermes.function.ana.*", "hermes.function.ana.hello"} {
		probe(t, "a watcher hears "+subject, isRefused(t, subject, thief, refused, func() error { _, err := thief.SubscribeSync(subject); return err }), "it may")
	}
	silent := func(what, text string) {
		t.Helper()
		for _, pattern := range hearsAll {
			probe(t, "a watcher hears "+what+" on "+pattern, !heard.has(pattern, saying(text)), text)
		}
	}
	deploy(ctx, t, ana, withSecret("first-of-ana"))
	silent("the environment of what was deployed", "first-of-ana")
	runAs(t, ana, "hello") // from here on it was given that
	deployOver(ctx, t, ana, withSecret("second-of-ana"), true)
	eventually(t, "the watcher is told that it has changed", func() bool { return heard.has("hermes.stale.local", saying(`"name":"hello"`)) })
	silent("the environment of what has changed", "second-of-ana")
	probe(t, "a watcher hears what it was given in a notice", !heard.has("hermes.stale.local", saying("first-of-ana")), "it does")

	// What it was not given, it is told nothing of.
	quiet := withSecret("of-quiet")
	quiet["hermes.config.json"] = strings.Replace(quiet["hermes.config.json"], `"hello"`, `"quiet"`, 1)
	deploy(ctx, t, ana, quiet)
	if _, err := api.Call[api.Functions](ctx, ana, api.OpFunctionDelete, api.FunctionDelete{Name: "quiet"}); err != nil {
		t.Fatal(err)
	}
	runAs(t, ana, "hello")
	deployOver(ctx, t, ana, withSecret("third-of-ana"), true) // behind it
	eventually(t, "the watcher is told of the last change", func() bool { return heard.count("hermes.stale.local") == 2 })
	probe(t, "a watcher hears who has deleted what", !heard.has("hermes.stale.local", saying("quiet")), "it does")
}

// count is how many messages have come.
func (e *ears) count(pattern string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.heard[pattern])
}

// TestWhatKeepsWatchersFromFunctions: a watcher that may hear functions' events has what stands in everybody's
// configs, and one that may ask what the bucket of leases is knows who else is there.
func TestWhatKeepsWatchersFromFunctions(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	p := externalWith(t, letWatchersHear)
	thief, _ := as(t, p, "watcher", instance.WatcherInbox("local"))
	heard := newEars()
	heard.hear(t, thief, "hermes.function.*.*")
	deploy(t.Context(), t, registered(t, p, "xeno").connect(t, p, "xeno").Client, withSecret("secret-of-xeno"))
	soon(t, "a watcher hears the environments of functions", func() bool { return heard.has("hermes.function.*.*", saying("secret-of-xeno")) })
	m, err := thief.Request("HERMES.API.STREAM.INFO.KV_hermes_leases", []byte(`{"subjects_filter":">"}`), 10*time.Second)
	var info struct {
		State struct{ Subjects map[string]int }
	}
	if err == nil {
		err = json.Unmarshal(m.Data, &info)
	}
	weak(t, "a watcher learns who has a lease", err == nil && info.State.Subjects["$KV.hermes_leases.leader.orchestrator"] > 0, err)
}

// letWatchersHear gives the watchers of a configuration functions' events, and what the bucket of leases is.
func letWatchersHear(conf string) string {
	for _, change := range [][2]string{
		{`{ stream: "hermes.stale.*" }`, `{ stream: "hermes.stale.*" }
			{ stream: "hermes.function.*.*" }
			{ service: "$JS.API.STREAM.INFO.KV_hermes_leases" }`},
		{`{ stream: { account: HERMES, subject: "hermes.stale.local" } }`, `{ stream: { account: HERMES, subject: "hermes.stale.local" } }
			{ stream: { account: HERMES, subject: "hermes.function.*.*" } }
			{ service: { account: HERMES, subject: "$JS.API.STREAM.INFO.KV_hermes_leases" }, to: "HERMES.API.STREAM.INFO.KV_hermes_leases" }`},
		{`"hermes.stale.local" ]`, `"hermes.stale.local", "hermes.function.*.*" ]`},
		{`"hermes.watch.local.>"`, `"hermes.watch.local.>", "HERMES.API.STREAM.INFO.KV_hermes_leases"`},
	} {
		conf = strings.Replace(conf, change[0], change[1], 1)
	}
	return conf
}
