package blobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
)

// A digest is no secret: executions and lists show it. So knowing one must not be enough to have
// the content built or fed to a function and read back. Who uploads content is noted as one of its
// holders, and only holders may name it in a request.

// AddHolder notes that the user has shown to have the content.
func (s *Store) AddHolder(ctx context.Context, user, digest string) error {
	if err := checkHolder(user, digest); err != nil {
		return err
	}
	if _, err := s.objects.PutBytes(ctx, holderName(user, digest), nil); err != nil {
		return fmt.Errorf("note that %s holds %s: %w", user, digest, err)
	}
	return nil
}

// IsHolder reports whether AddHolder was called for the user and the content is stored, and if so keeps
// it from being collected: a request is about to refer to it.
func (s *Store) IsHolder(ctx context.Context, user, digest string) (bool, error) {
	if err := checkHolder(user, digest); err != nil {
		return false, err
	}
	_, err := s.info(ctx, holderName(user, digest))
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look whether %s holds %s: %w", user, digest, err)
	}
	return s.Keep(ctx, digest)
}

func checkHolder(user, digest string) error {
	return errors.Join(events.CheckUserName(user), events.CheckDigest(digest))
}

// holderName is an empty object's: a digest's hex has no slash, so it is no blob's.
func holderName(user, digest string) string { return user + "/" + objectName(digest) }
