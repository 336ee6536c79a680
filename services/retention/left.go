package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
)

// leaver is a user who is gone.
type leaver struct {
	name string
	// sequence and at are those of the event that says so.
	sequence uint64
	at       time.Time
	// more: the log of users has earlier events of theirs.
	more bool
}

// leavers are the users who are gone. Those whom a server's configuration signs in need not be in the log.
func leavers(ctx context.Context, users log.Log) (map[string]leaver, error) {
	left, met := map[string]leaver{}, map[string]bool{}
	for record, err := range users.Read(ctx, ">", 0) {
		var undecodable *log.UndecodableError
		if err != nil && !errors.As(err, &undecodable) {
			return nil, fmt.Errorf("find who has left: %w", err)
		}
		name, err := events.ParseUserSubject(record.Subject)
		if err != nil {
			continue
		}
		if _, gone := record.Data.(events.UserUnregistered); gone {
			left[name] = leaver{name: name, sequence: record.Sequence, at: record.Time, more: met[name]}
		} else if record.Data != nil {
			delete(left, name)
		}
		met[name] = true
	}
	return left, nil
}
