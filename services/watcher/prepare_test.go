package watcher

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/base"
	"github.com/hermes-serverless/hermes/services/blobs"
)

// TestWhatIsAskedForAgain: content that is refused or broken stays so; a server that is away comes back.
func TestWhatIsAskedForAgain(t *testing.T) {
	for what, c := range map[string]struct {
		err   error
		tries int
	}{
		"not stored":            {fmt.Errorf("%w: sha256:x", blobs.ErrNoBlob), 1},
		"not allowed":           {fmt.Errorf("fetch sha256:x: %w", api.Errorf(api.Unauthorized, api.NotPermitted, "nothing needs it")), 1},
		"something else":        {fmt.Errorf("fetch: %w", &blobs.MismatchError{}), 1},
		"a base for no one":     {&base.Error{Why: "is for pdp11"}, 1},
		"nobody leads":          {fmt.Errorf("fetch: %w", api.Errorf(api.Unavailable, api.ServerUnavailable, "no Hermes service answers")), 3},
		"a server with trouble": {api.Errorf(api.Internal, api.InternalError, "the store does not answer"), 3},
		"anything else":         {errors.New("a disk"), 3},
	} {
		tries := 0
		err := persist(t.Context(), time.Minute, permanentContent, func() error {
			if tries++; tries == 3 {
				return nil
			}
			return c.err
		})
		if tries != c.tries || (err == nil) != (c.tries == 3) {
			t.Errorf("%s: asked %d times, %v; want %d", what, tries, err, c.tries)
		}
	}
}
