package events

import "time"

// Audit events tell who knocked, who was let in and what the operator did, as far as no event of a
// user, a base or a language tells it. They are kept for a time, not for ever: they hold addresses.
//
// What others can cause as often as they like is counted: the first is an event at once, and those that
// follow in a window are one event together, at its end.

// Reasons why a login failed. A closed set.
const (
	// LoginPassword: the name or the password is wrong.
	LoginPassword = "password"
	// LoginThrottled: too many had failed; the password was not looked at.
	LoginThrottled = "throttled"
	// LoginRefused: the password is right, and the user is disabled or has too many keys.
	LoginRefused = "refused"
	// LoginInvite: a registration without a good invitation, or where nobody may register.
	LoginInvite = "invite"
	// LoginKey: a connection was turned away: its key is nobody's, revoked or expired, it does not prove
	// to hold the seed, or there are too many.
	LoginKey = "key"
)

// LoginSucceeded: a password, or a registration, was accepted. The key that it was for is in the user's
// own events.
type LoginSucceeded struct {
	User string `json:"user"`
	// Address is where it came from, as the NATS server saw it; empty where it does not tell.
	Address string `json:"address,omitempty"`
	// Count is how many this event stands for, Since when the first of them was.
	Count int64     `json:"count"`
	Since time.Time `json:"since"`
}

// LoginFailed: somebody was not let in.
type LoginFailed struct {
	// User is who they said they were, if there is such a user: what was typed otherwise may be a
	// password, and is not kept.
	User string `json:"user,omitempty"`
	// Address is empty where it is not known, and for those of many addresses together.
	Address string    `json:"address,omitempty"`
	Reason  string    `json:"reason"`
	Count   int64     `json:"count"`
	Since   time.Time `json:"since"`
}

// KeyUsed: a key let somebody in as the user.
type KeyUsed struct {
	User      string `json:"user"`
	PublicKey string `json:"publicKey"`
	Address   string `json:"address,omitempty"`
	// Count is how many connections it opened.
	Count int64     `json:"count"`
	Since time.Time `json:"since"`
}

// OperatorActed: the operator did what is no event of its own, or tried to do something in vain.
type OperatorActed struct {
	// Action is what: "user.invite", "projection.rebuild".
	Action string `json:"action"`
	// About is what it was done to: a user's name, a base's.
	About string `json:"about,omitempty"`
	// Detail is for people.
	Detail string `json:"detail,omitempty"`
	// Failed is the name of the error; empty for success.
	Failed string `json:"failed,omitempty"`
}

// Type implements Data.
func (LoginSucceeded) Type() Type { return "io.hermes.audit.v1.login_succeeded" }

// Type implements Data.
func (LoginFailed) Type() Type { return "io.hermes.audit.v1.login_failed" }

// Type implements Data.
func (KeyUsed) Type() Type { return "io.hermes.audit.v1.key_used" }

// Type implements Data.
func (OperatorActed) Type() Type { return "io.hermes.audit.v1.operator_acted" }
