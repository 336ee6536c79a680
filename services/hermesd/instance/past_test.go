package instance

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/api"
)

func provisioned(t *testing.T) jetstream.JetStream {
	t.Helper()
	js := natstest.Connect(t)
	if _, err := streams.Ensure(t.Context(), js, streams.Options{}); err != nil {
		t.Fatal(err)
	}
	return js
}

// TestThePastIsWhole: what has no room for all that happened does not show a part of it as the past.
func TestThePastIsWhole(t *testing.T) {
	source, roomy, full := provisioned(t), provisioned(t), provisioned(t)
	now := time.Now()
	for _, user := range []string{"ana", "bob", "carl"} {
		event := events.Event{ID: user, Source: "test", Time: now, Data: events.UserRegistered{Local: true}}
		if err := log.AppendLast(t.Context(), OpenLogs(source).Users, events.UserSubject(user), event); err != nil {
			t.Fatal(err)
		}
	}
	if users, err := pastUsers(t.Context(), ReplayOptions{Source: source, Until: now, Users: []string{"bob", "ana"}}); err != nil || len(users) != 2 {
		t.Errorf("named: %v, %v", users, err)
	}
	for name, until := range map[string]time.Time{"zoe": now, "ana": now.Add(-time.Hour)} {
		if _, err := pastUsers(t.Context(), ReplayOptions{Source: source, Until: until, Users: []string{"ana", name}}); !api.IsKind(err, api.NotFound) {
			t.Errorf("%s, who was not there: %v", name, err)
		}
	}
	stream, err := full.Stream(t.Context(), streams.Users)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxMsgs, config.Discard = 2, jetstream.DiscardNew
	if _, err := full.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	o := ReplayOptions{Source: source, Until: now}
	if n, err := copyPast(t.Context(), o, roomy.Conn()); err != nil || n != 3 {
		t.Errorf("%d events, %v", n, err)
	}
	if _, err := copyPast(t.Context(), o, full.Conn()); err == nil || !strings.Contains(err.Error(), "store an event of hermes.user.carl") {
		t.Errorf("without room: %v", err)
	}
	if err := allStored(t.Context(), full, 3); err == nil || !strings.Contains(err.Error(), "of 3 events of the past 2") {
		t.Errorf("counted: %v", err)
	}
}

// TestNoUserIsTheOperatorOfThePast: the contexts of a replay have different names, whatever its users are called.
func TestNoUserIsTheOperatorOfThePast(t *testing.T) {
	if pastName("operator") == "operator" || pastName("ana") != "ana" {
		t.Errorf("they are called %q and %q", pastName("operator"), pastName("ana"))
	}
	if err := events.CheckUserName(pastName("operator")); err == nil {
		t.Errorf("somebody else may be called %q", pastName("operator"))
	}
}
