package log

import (
	"context"
	"errors"

	"github.com/hermes-serverless/hermes/events"
)

// AppendLast appends the event behind whatever is last on the subject. It is for subjects that are no
// aggregate: what it says follows from nothing before it.
func AppendLast(ctx context.Context, l Log, subject string, event events.Event) error {
	for {
		last, err := l.Head(ctx, subject)
		if err != nil {
			return err
		}
		if _, err = l.Append(ctx, subject, last, event); !errors.Is(err, ErrConflict) {
			return err
		}
	}
}
