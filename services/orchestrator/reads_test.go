package orchestrator

import (
	"context"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/api"
)

// TestALeaderThatIsCutOffKeepsNobodyWaiting until the server gives a request up.
func TestALeaderThatIsCutOffKeepsNobodyWaiting(t *testing.T) {
	w := newWorld(t)
	w.answer()
	if _, err := w.nc.SubscribeSync(api.FleetSubject); err != nil { // and never answers
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := ask[api.Fleet](w, api.OpFleet, api.FleetRequest{}); !api.IsKind(err, api.Unavailable) {
		t.Errorf("the fleet: %v", err)
	}
	if took := time.Since(begin); took >= api.DefaultTimeout {
		t.Errorf("it took %s", took)
	}
}

// TestWhoAsksBeforeAnybodyLeadsIsAnswered: an instance serves its users before it has a leader.
func TestWhoAsksBeforeAnybodyLeadsIsAnswered(t *testing.T) {
	w := newWorld(t)
	s := w.service()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	asked, err := w.nc.SubscribeSync("_INBOX.>") // nobody leads: the server says so to who asked
	if err != nil {
		t.Fatal(err)
	}
	if err := w.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := askUntilLed[api.Fleet](ctx, s, api.FleetSubject, api.FleetUse{User: "ana"})
		answered <- err
	}()
	if _, err := asked.NextMsgWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	w.orchestrate()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
