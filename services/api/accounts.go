package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Operations of a client that has not logged in. It asks on hermes.login.<key>.<operation>, where key
// is the public nkey that it signed in with: the server has checked that it holds the seed, so a
// password is all that is left to say, and a request that somebody heard is of no use to them.
const (
	OpRegister = "register" // Register → LoggedIn
	OpLogin    = "login"    // Login → LoggedIn
	OpKeyState = "state"    // KeyStateRequest → KeyState
)

// Operations of users on their account.
const (
	OpKeysList   = "keys.list"   // KeysList → Keys
	OpKeysRevoke = "keys.revoke" // KeysRevoke → Keys (what was revoked)
	OpUnregister = "unregister"  // Unregister → Unregistered
	// OpPasswordChange: PasswordChange → PasswordChanged
	OpPasswordChange = "password.change"
)

// Operations of the operator, on hermes.admin.<who>.<operation> in the account of the services.
const (
	OpUserInvite  = "user.invite"  // UserInvite → Invited
	OpUserAdd     = "user.add"     // UserAdd → User
	OpUserList    = "user.list"    // UserList → Users
	OpUserInspect = "user.inspect" // UserRef → User
	OpUserDisable = "user.disable" // UserRef → User
	OpUserEnable  = "user.enable"  // UserRef → User
	OpUserRemove  = "user.remove"  // UserRef → Unregistered
	// OpUserPassword: UserPassword → PasswordChanged
	OpUserPassword = "user.password"
)

// GuestName is the user name by which a connection says that it wants to log in. Its nkey may be
// any; the seed must be there.
const GuestName = "login"

// LoginSubject is where the holder of a key asks for an operation.
func LoginSubject(key, op string) string { return "hermes.login." + key + "." + op }

// LoginInbox is the only place where replies to a client that has not logged in may go.
func LoginInbox(key string) string { return "_INBOX_login_" + key }

// AdminSubject is where the operator asks for an operation. who is for the history.
func AdminSubject(who, op string) string { return "hermes.admin." + who + "." + op }

// Guest signs in with a key that nobody has enrolled yet, or any more.
func Guest(key string, sign nats.SignatureHandler) nats.Option {
	return func(o *nats.Options) error {
		o.Nkey, o.SignatureCB, o.User, o.InboxPrefix = key, sign, GuestName, LoginInbox(key)
		return nil
	}
}

// Registration says who may register.
type Registration string

const (
	// RegistrationClosed: the operator adds users.
	RegistrationClosed Registration = "closed"
	// RegistrationInvite: who has a token of the operator.
	RegistrationInvite Registration = "invite"
	// RegistrationOpen: everybody.
	RegistrationOpen Registration = "open"
)

// ParseRegistration reads one of the three.
func ParseRegistration(word string) (Registration, error) {
	switch r := Registration(word); r {
	case RegistrationClosed, RegistrationInvite, RegistrationOpen:
		return r, nil
	}
	return "", fmt.Errorf("registration %q: must be closed, invite or open", word)
}

// Bounds of what a user may choose.
const (
	MinPasswordBytes = 8
	MaxPasswordBytes = 1024
	MaxLabelBytes    = 100
	// DefaultLogin is how long a login lasts that names no time, MaxLogin the longest.
	DefaultLogin = 30 * 24 * time.Hour
	MaxLogin     = 366 * 24 * time.Hour
)

// CheckPassword says what is wrong with a new password. It never says the password.
func CheckPassword(password string) error {
	switch {
	case len(password) < MinPasswordBytes:
		return fmt.Errorf("the password is shorter than %d characters", MinPasswordBytes)
	case len(password) > MaxPasswordBytes:
		return fmt.Errorf("the password is longer than %d bytes", MaxPasswordBytes)
	case strings.ContainsAny(password, "\x00\r\n"):
		return fmt.Errorf("the password holds the end of a line")
	}
	return nil
}

// Login enrols the connection's key for the user whose password this is.
type Login struct {
	User     string `json:"user"`
	Password string `json:"password"`
	// Label says where the key lives.
	Label string `json:"label,omitempty"`
	// ExpiresSeconds is how long the key is to be good: DefaultLogin when 0, at most MaxLogin.
	ExpiresSeconds int64 `json:"expiresSeconds,omitempty"`
}

// Register makes the user, then logs in.
type Register struct {
	Login
	// Invite is the operator's token, where one is needed.
	Invite string `json:"invite,omitempty"`
}

// LoggedIn answers both.
type LoggedIn struct {
	User    string    `json:"user"`
	Key     string    `json:"key"`
	Expires time.Time `json:"expires"`
}

// KeyStateRequest asks what the connection's own key is worth.
type KeyStateRequest struct{}

// KeyState answers it.
type KeyState struct {
	// User is whose key it is; empty if nobody's.
	User    string    `json:"user,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	// Expired, Disabled: it is known, and of no use.
	Expired  bool `json:"expired,omitempty"`
	Disabled bool `json:"disabled,omitempty"`
	// Registration is the server's policy.
	Registration Registration `json:"registration"`
}

// KeysList asks for the caller's keys.
type KeysList struct{}

// Keys are keys, the newest first.
type Keys struct {
	Keys []Key `json:"keys"`
}

// Key is an enrolled key.
type Key struct {
	Key        string    `json:"key"`
	Label      string    `json:"label"`
	EnrolledAt time.Time `json:"enrolledAt"`
	Expires    time.Time `json:"expires,omitzero"`
	Expired    bool      `json:"expired,omitempty"`
}

// KeysRevoke ends a key, named by its beginning, or all of the caller's.
type KeysRevoke struct {
	Key string `json:"key,omitempty"`
	All bool   `json:"all,omitempty"`
}

// PasswordChange lets another password be the caller's.
type PasswordChange struct {
	Password string `json:"password"`
	New      string `json:"new"`
	// RevokeOthers ends all of the caller's keys but Keep, a public nkey.
	RevokeOthers bool   `json:"revokeOthers,omitempty"`
	Keep         string `json:"keep,omitempty"`
}

// PasswordChanged answers it.
type PasswordChanged struct {
	User string `json:"user"`
	// Revoked are the keys that were ended, Kept how many still act as the user.
	Revoked []Key `json:"revoked"`
	Kept    int   `json:"kept"`
}

// Unregister removes the caller and everything of theirs.
type Unregister struct {
	Password string `json:"password"`
}

// Unregistered says what went.
type Unregistered struct {
	User      string `json:"user"`
	Functions int    `json:"functions"`
	Cancelled int    `json:"cancelled"`
}

// UserInvite asks for a token with which one user may register.
type UserInvite struct {
	// User is the only name that it is good for; empty: any.
	User           string `json:"user,omitempty"`
	ExpiresSeconds int64  `json:"expiresSeconds"`
}

// Invited answers it. The token is nowhere else.
type Invited struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// UserAdd registers a user whatever the policy is.
type UserAdd struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// UserPassword lets another password be a user's, whatever the old one was.
type UserPassword struct {
	User     string `json:"user"`
	Password string `json:"password"`
	// Revoke ends all of the user's keys.
	Revoke bool `json:"revoke,omitempty"`
}

// UserRef names a user.
type UserRef struct {
	User string `json:"user"`
}

// String is the name.
func (r UserRef) String() string { return r.User }

// UserList asks for all.
type UserList struct{}

// Users are all, by name.
type Users struct {
	Users []User `json:"users"`
}

// User is a user as the operator sees them.
type User struct {
	Name         string    `json:"name"`
	RegisteredAt time.Time `json:"registeredAt"`
	// Status is "active", "disabled", "leaving", or "local" for one of the server's configuration.
	Status string `json:"status"`
	// Keys are those that have not expired, but for UserInspect, which tells all.
	Keys []Key `json:"keys"`
	// Connections are open now.
	Connections int `json:"connections"`
}
