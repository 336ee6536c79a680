package registry

import (
	"context"

	"github.com/hermes-serverless/hermes/events"
)

// Quotas is what the registry asks of users' quotas. Its errors are *api.Error where a bound is in the
// way.
type Quotas interface {
	// AdmitUpload says whether the user may store the content besides what they do.
	AdmitUpload(ctx context.Context, user string, blob events.Blob) error
	// AdmitBuild gives a build a place in its user's queue; giveBack is for one that was not used.
	AdmitBuild(ctx context.Context, user, id string, bundle events.Blob) (giveBack func(), err error)
	// Rate says that the user asks too often.
	Rate(user string) error
}

// unbounded are the quotas of an instance that has none.
type unbounded struct{}

func (unbounded) AdmitUpload(context.Context, string, events.Blob) error { return nil }

func (unbounded) AdmitBuild(context.Context, string, string, events.Blob) (func(), error) {
	return func() {}, nil
}

func (unbounded) Rate(string) error { return nil }
