package accounts

import (
	"testing"

	"github.com/nats-io/nats.go"
)

// TestTheOldestCalloutGoes when more come than can be looked at.
func TestTheOldestCalloutGoes(t *testing.T) {
	queue := make(chan *nats.Msg, 3)
	for _, data := range []string{"1", "2", "3", "4", "5"} {
		keepLatest(queue, &nats.Msg{Data: []byte(data)})
	}
	left := ""
	for len(queue) > 0 {
		left += string((<-queue).Data)
	}
	if left != "345" {
		t.Errorf("left are %s", left)
	}
}
