package accounts

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/api"
)

// secrets is the bucket of what must be able to go away: hashes of passwords, by the id of the event
// that registered the user, and invitations, by the hash of their token.
type secrets struct{ kv jetstream.KeyValue }

func passwordKey(registration string) string { return "password." + registration }

// hash returns the hash of a registration's password; empty if there is none.
func (s secrets) hash(ctx context.Context, registration string) (string, error) {
	if registration == "" {
		registration = "none" // as much work as for a user who exists
	}
	e, err := s.kv.Get(ctx, passwordKey(registration))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read a password's hash: %w", err)
	}
	return string(e.Value()), nil
}

func (s secrets) keep(ctx context.Context, registration, hash string) error {
	if _, err := s.kv.PutString(ctx, passwordKey(registration), hash); err != nil {
		return fmt.Errorf("keep a password's hash: %w", err)
	}
	return nil
}

func (s secrets) forget(ctx context.Context, registration string) error {
	if err := s.kv.Purge(ctx, passwordKey(registration)); err != nil {
		return fmt.Errorf("forget a password's hash: %w", err)
	}
	return nil
}

// invitation is what an operator's token is good for.
type invitation struct {
	// User is the only name that it is good for; empty: any.
	User    string    `json:"user,omitempty"`
	By      string    `json:"by"`
	Expires time.Time `json:"expires"`
}

// tokenBytes make a token that nobody guesses: 160 bits.
const tokenBytes = 20

func inviteKey(token string) string {
	sum := sha256.Sum256([]byte(strings.ToUpper(strings.TrimSpace(token))))
	return "invite." + hex.EncodeToString(sum[:])
}

// invite makes a token. It is kept as its hash only.
func (s secrets) invite(ctx context.Context, i invitation, ttl time.Duration) (token string, err error) {
	raw := make([]byte, tokenBytes)
	_, _ = rand.Read(raw) // never fails
	token = base32.StdEncoding.EncodeToString(raw)
	value, err := json.Marshal(i)
	if err != nil {
		return "", err
	}
	if _, err := s.kv.Create(ctx, inviteKey(token), value, jetstream.KeyTTL(ttl)); err != nil {
		return "", fmt.Errorf("keep an invitation: %w", err)
	}
	return token, nil
}

// redeem uses a token up. Of two who try at once one has it. It returns how to give it back.
func (s secrets) redeem(ctx context.Context, token, user string, now time.Time) (giveBack func(context.Context) error, err error) {
	refused := api.Errorf(api.Unauthorized, api.InvalidInvite, "the invitation is not valid for this name, is used up or has expired").
		WithHint("the operator of the server makes them: `hermesd user invite`")
	key := inviteKey(token)
	e, err := s.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, refused
	}
	if err != nil {
		return nil, fmt.Errorf("read an invitation: %w", err)
	}
	var i invitation
	if err := json.Unmarshal(e.Value(), &i); err != nil {
		return nil, fmt.Errorf("read an invitation: %w", err)
	}
	ttl := i.Expires.Sub(now)
	if i.User != "" && i.User != user || ttl <= 0 {
		return nil, refused
	}
	if err := s.kv.Delete(ctx, key, jetstream.LastRevision(e.Revision())); err != nil {
		if streams.IsConflict(err) {
			return nil, refused
		}
		return nil, fmt.Errorf("use an invitation up: %w", err)
	}
	return func(ctx context.Context) error {
		_, err := s.kv.Create(ctx, key, e.Value(), jetstream.KeyTTL(max(ttl, time.Second)))
		return err
	}, nil
}
