package events

import "time"

// UserRegistered: the name is taken.
type UserRegistered struct {
	// Operator may see and do everything.
	Operator bool `json:"operator,omitempty"`
	// Local is a user that the NATS server's configuration signs in: no password, no enrolled keys.
	Local bool `json:"local,omitempty"`
}

// UserKeyEnrolled: whoever holds the seed of this key acts as the user.
type UserKeyEnrolled struct {
	// PublicKey is an nkey of type user ("U…").
	PublicKey string `json:"publicKey"`
	// Label says where the key lives: a host's name.
	Label string `json:"label"`
	// Expires is zero for a key that does not.
	Expires time.Time `json:"expires,omitzero"`
}

// UserKeyRevoked: the key is worth nothing any more.
type UserKeyRevoked struct {
	PublicKey string `json:"publicKey"`
}

// What a figure of UserQuotaSet may be besides a bound and 0, the operator's default.
const (
	// QuotaUnbounded: no bound.
	QuotaUnbounded = -1
	// QuotaNothing: nothing of it at all.
	QuotaNothing = -2
)

// UserQuotaSet: the operator bounded the user. A zero means the default.
type UserQuotaSet struct {
	ConcurrentExecutions int   `json:"concurrentExecutions,omitempty"`
	QueuedExecutions     int   `json:"queuedExecutions,omitempty"`
	CPUMillis            int64 `json:"cpuMillis,omitempty"`
	MemoryBytes          int64 `json:"memoryBytes,omitempty"`
	GPUs                 int   `json:"gpus,omitempty"`
	StoredBytes          int64 `json:"storedBytes,omitempty"`
	// GPUSecondsPerDay and OutputBytesPerDay are of one day in UTC.
	GPUSecondsPerDay  int64 `json:"gpuSecondsPerDay,omitempty"`
	OutputBytesPerDay int64 `json:"outputBytesPerDay,omitempty"`
	// RequestsPerSecond is what the API answers.
	RequestsPerSecond int64 `json:"requestsPerSecond,omitempty"`
}

// UserDisabled: none of the user's keys is worth anything until UserEnabled.
type UserDisabled struct {
	By string `json:"by"`
	// Leaving: what the user has is being removed, and UserUnregistered follows.
	Leaving bool `json:"leaving,omitempty"`
}

// UserEnabled: the keys are good again.
type UserEnabled struct {
	By string `json:"by"`
}

// UserUnregistered: the user and everything of theirs is gone. It is all that stays of their events, so that the
// accounts service gives the name to nobody else: others' events may name it.
type UserUnregistered struct {
	By string `json:"by"`
}

// UserPasswordSet: from here on another password is the user's. Its hash is kept elsewhere, under the
// id of this event.
type UserPasswordSet struct{}

// Type implements Data.
func (UserRegistered) Type() Type { return "io.hermes.user.v1.registered" }

// Type implements Data.
func (UserKeyEnrolled) Type() Type { return "io.hermes.user.v1.key_enrolled" }

// Type implements Data.
func (UserKeyRevoked) Type() Type { return "io.hermes.user.v1.key_revoked" }

// Type implements Data.
func (UserQuotaSet) Type() Type { return "io.hermes.user.v1.quota_set" }

// Type implements Data.
func (UserDisabled) Type() Type { return "io.hermes.user.v1.disabled" }

// Type implements Data.
func (UserEnabled) Type() Type { return "io.hermes.user.v1.enabled" }

// Type implements Data.
func (UserUnregistered) Type() Type { return "io.hermes.user.v1.unregistered" }

// Type implements Data.
func (UserPasswordSet) Type() Type { return "io.hermes.user.v1.password_set" }
