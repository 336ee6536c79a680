package instance

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// healthEvery is how often the embedded server is asked whether it can still write.
const healthEvery = 5 * time.Second

// writeError stands in what the server says of a stream or consumer that it cannot write any more: its disk is
// full, or broken. It does not try again before it is started anew, also when there is room again.
const writeError = " write error: "

// cannotWrite is the error of an embedded server that takes nothing any more; nil for one that is merely busy.
func cannotWrite(health *server.HealthStatus) error {
	for _, e := range health.Errors {
		if strings.Contains(e.Error, writeError) {
			return fmt.Errorf("what happens cannot be stored any more: %s: see that the disk has room, and start hermesd again", e.Error)
		}
	}
	return nil
}
