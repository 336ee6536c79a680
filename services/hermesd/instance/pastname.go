package instance

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// maxPasts bounds the replays that somebody has at once.
const maxPasts = 100

// claimPast returns what the names of a replay's NATS contexts begin with: hermes-past-, or, while other
// replays of whoever runs this have that, hermes-past2- and so on. release lets it go.
//
// The claim is an abstract socket: it leaves nothing, whatever happens to the process.
func claimPast() (prefix string, release func(), err error) {
	home, err := os.UserConfigDir() // the contexts are below it
	if err != nil {
		return "", nil, fmt.Errorf("find the folder of NATS contexts: %w", err)
	}
	for n := 1; n <= maxPasts; n++ {
		prefix = "hermes-past-"
		if n > 1 {
			prefix = fmt.Sprintf("hermes-past%d-", n)
		}
		claim, err := net.Listen("unix", fmt.Sprintf("@hermes/%x/%s", sha256.Sum256([]byte(home)), prefix))
		switch {
		case err == nil:
			return prefix, func() { _ = claim.Close() }, nil
		case !errors.Is(err, syscall.EADDRINUSE):
			return "", nil, fmt.Errorf("claim the contexts %s*: %w", prefix, err)
		}
	}
	return "", nil, fmt.Errorf("%d replays are running already: end some of them", maxPasts)
}
