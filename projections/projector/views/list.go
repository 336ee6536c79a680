package views

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections"
	"github.com/hermes-serverless/hermes/projections/projector"
)

// page is how many keys one round trip of a scan brings.
const page = 500

// scan returns the values of all keys that match the pattern, by key. A key that is written
// meanwhile is there with its old or its new value.
func scan(ctx context.Context, js jetstream.JetStream, bucket, pattern string) (map[string][]byte, error) {
	values := map[string][]byte{}
	prefix := streams.BucketSubject(bucket, "")
	for next := uint64(1); ; {
		messages, more, err := get.Next(ctx, js, streams.BucketStream(bucket), prefix+pattern, next, page)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			key := strings.TrimPrefix(m.Subject, prefix)
			values[key] = m.Data
			if projector.IsMarker(m.Header) {
				delete(values, key)
			}
			next = m.Sequence + 1
		}
		if !more {
			return values, nil
		}
	}
}

// list returns the decoded values of a pattern, sorted by key.
func list[T any](ctx context.Context, v *Views, p projections.Projection, pattern string) ([]T, error) {
	values, err := scan(ctx, v.js, p.Name, pattern)
	if err != nil {
		return nil, err
	}
	all := make([]T, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value, err := decode[T](p, key, values[key])
		if err != nil {
			return nil, err
		}
		all = append(all, value)
	}
	return all, nil
}

func quarantined(ctx context.Context, js jetstream.JetStream, bucket string) ([]Quarantined, error) {
	values, err := scan(ctx, js, bucket, projections.QuarantinePrefix+"*")
	if err != nil {
		return nil, err
	}
	all := make([]Quarantined, 0, len(values))
	for key, raw := range values {
		var q Quarantined
		if err := json.Unmarshal(raw, &q.Quarantined); err != nil {
			return nil, fmt.Errorf("bucket %s, key %s: %w", bucket, key, err)
		}
		if q.Sequence, err = strconv.ParseUint(strings.TrimPrefix(key, projections.QuarantinePrefix), 10, 64); err != nil {
			return nil, fmt.Errorf("bucket %s, key %s: %w", bucket, key, err)
		}
		all = append(all, q)
	}
	slices.SortFunc(all, func(a, b Quarantined) int { return int(a.Sequence) - int(b.Sequence) })
	return all, nil
}
