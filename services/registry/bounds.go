package registry

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
)

// A function's view is one message, of which NATS takes at most 1 MiB. One that is larger could
// never be written, and would keep the views of all functions from going on.
const (
	// maxStateBytes bounds a function as it is stored, with what its pending builds will add.
	maxStateBytes = 512 << 10
	// maxEndBytes is what the end of a build adds at most: why it failed, or its artifact.
	maxEndBytes = maxMessageBytes + 512
	// maxMessageBytes bounds, as it is stored, the message of a failed build that a function keeps.
	maxMessageBytes = 1 << 10
)

// checkVersions refuses one more build if it, or the failure that it may become, is one too many
// for the fold. An end that the fold refuses would make the function's log useless.
func checkVersions(f functions.Function, ref events.FunctionRef) error {
	_, exists := f.Versions[ref.Version]
	_, failedBefore := f.Failed[ref.Version]
	switch {
	case !exists && len(f.Versions) >= functions.MaxVersions:
		return limitReached(ref, fmt.Sprintf("has %d versions; no more are allowed", len(f.Versions)), "old")
	case len(f.Pending) >= functions.MaxVersions,
		!failedBefore && len(f.Failed)+len(f.Pending) >= functions.MaxVersions:
		return limitReached(ref, fmt.Sprintf("has %d failed versions and %d that are being built; no more than %d are allowed",
			len(f.Failed), len(f.Pending), functions.MaxVersions), "failed")
	}
	return nil
}

// checkSize refuses a registration with which the function, when all of its builds have ended,
// would be larger than is kept.
func checkSize(f functions.Function, registered events.FunctionRegistered) error {
	next, err := foldDecided(f, registered)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode function %s/%s: %w", f.Owner, f.Name, err)
	}
	if len(raw)+len(next.Pending)*maxEndBytes <= maxStateBytes {
		return nil
	}
	ref := events.FunctionRef{Owner: f.Owner, Name: f.Name, Version: registered.Version}
	return limitReached(ref, fmt.Sprintf("has %d versions, which take all the room that a function has",
		len(f.Versions)+len(f.Failed)+len(f.Pending)), "old")
}

func limitReached(ref events.FunctionRef, what, which string) error {
	return api.Errorf(api.LimitReached, versionsLimitReached, "%s/%s %s", ref.Owner, ref.Name, what).
		WithHint("delete %s versions: hermes function delete %s VERSION", which, ref.Name)
}

// foldDecided returns the function after what was decided. What the fold refuses must never be
// appended: nothing could be read from the function's log any more, or be deleted.
func foldDecided(f functions.Function, decided ...events.Data) (functions.Function, error) {
	subject := events.FunctionSubject(f.Owner, f.Name)
	for _, data := range decided {
		var err error
		f, err = functions.Fold(f, events.Record{Event: events.Event{Data: data}, Subject: subject, Sequence: f.Sequence + 1})
		if err != nil {
			return f, fmt.Errorf("decide on function %s/%s: %w", f.Owner, f.Name, err)
		}
	}
	return f, nil
}

// clip shortens a message until it takes at most maxMessageBytes as it is stored, where a character
// may take 6 bytes. All of it stays with the execution that built.
func clip(message string) string {
	if storedBytes(message) <= maxMessageBytes {
		return message
	}
	for n := min(len(message), maxMessageBytes); ; n = n * 3 / 4 {
		clipped := strings.ToValidUTF8(message[:n], "") + " …"
		if storedBytes(clipped) <= maxMessageBytes {
			return clipped
		}
	}
}

func storedBytes(message string) int {
	raw, _ := json.Marshal(message) // a string always has a form
	return len(raw)
}
