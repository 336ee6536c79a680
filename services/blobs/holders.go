package blobs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
)

// A digest is no secret: executions and lists show it. So knowing one must not be enough to have
// the content built or fed to a function and read back. Who uploads content is noted as one of its
// holders, and only holders may name it in a request: users, and watchers in what they report.

// watcherPrefix tells a watcher from the user of the same name: no name has a dot.
const watcherPrefix = "watcher."

// WatcherHolder is what a watcher is called among holders.
func WatcherHolder(name string) string { return watcherPrefix + name }

// AddHolder notes that the user, or watcher, has shown to have the content.
func (s *Store) AddHolder(ctx context.Context, holder, digest string) error {
	if err := checkHolder(holder, digest); err != nil {
		return err
	}
	if _, err := s.objects.PutBytes(ctx, holderName(holder, digest), nil); err != nil {
		return fmt.Errorf("note that %s holds %s: %w", holder, digest, err)
	}
	return nil
}

// IsHolder reports whether AddHolder was called for the holder and the content is stored, and if so keeps
// it from being collected: a request or a report is about to refer to it.
func (s *Store) IsHolder(ctx context.Context, holder, digest string) (bool, error) {
	if err := checkHolder(holder, digest); err != nil {
		return false, err
	}
	_, err := s.info(ctx, holderName(holder, digest))
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look whether %s holds %s: %w", holder, digest, err)
	}
	return s.Keep(ctx, digest)
}

func checkHolder(holder, digest string) error {
	name, isWatcher := strings.CutPrefix(holder, watcherPrefix)
	check := events.CheckUserName
	if isWatcher {
		check = events.CheckWatcherName
	}
	return errors.Join(check(name), events.CheckDigest(digest))
}

// holderName is an empty object's: a digest's hex has no slash, so it is no blob's.
func holderName(holder, digest string) string { return holder + "/" + objectName(digest) }
