// Package users folds the events of users into what the auth callout and quotas go by.
package users

import (
	"cmp"
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// User is the fold of one user's events. Its zero value is a user that does not exist.
type User struct {
	Name string `json:"name"`
	// Registered is false before and after the user's life.
	Registered   bool      `json:"registered"`
	RegisteredAt time.Time `json:"registeredAt,omitzero"`
	// Registration is the id of the event that registered the user. What is kept elsewhere for the
	// user is kept under it, so that nothing of an earlier one of the same name is ever found.
	Registration string `json:"registration,omitempty"`
	// PasswordSet is the id of the event that changed the password last, empty where none did.
	PasswordSet string `json:"passwordSet,omitempty"`
	// Local is signed in by the NATS server's configuration.
	Local bool `json:"local,omitempty"`
	// Disabled users have no use of their keys; Leaving ones are being removed.
	Disabled bool `json:"disabled,omitempty"`
	Leaving  bool `json:"leaving,omitempty"`
	// Operator may see and do everything.
	Operator bool `json:"operator,omitempty"`
	// Keys are those that act as the user, by public key.
	Keys map[string]Key `json:"keys,omitempty"`
	// Quota is zero where the default holds.
	Quota events.UserQuotaSet `json:"quota,omitzero"`
	// Sequence is the last event's, and what the next append must expect.
	Sequence uint64 `json:"sequence"`
}

// Password is the id under which the password's hash is kept.
func (u User) Password() string { return cmp.Or(u.PasswordSet, u.Registration) }

// Key is an enrolled key.
type Key struct {
	Label      string    `json:"label"`
	EnrolledAt time.Time `json:"enrolledAt"`
	// Expires is zero for a key that does not.
	Expires time.Time `json:"expires,omitzero"`
}
