package orchestrator

import (
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
