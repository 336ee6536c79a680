package api

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Kind is the class of an error: a closed set, mapped to exit codes by the CLI in one place.
type Kind string

const (
	// Invalid: the request is wrong and will be wrong again.
	Invalid Kind = "invalid"
	// NotFound: what the request names does not exist, or not for this user.
	NotFound Kind = "not_found"
	// Exists: what the request would make is there already.
	Exists Kind = "exists"
	// State: the thing exists but is in a state in which this cannot be done.
	State Kind = "state"
	// Unauthorized: the caller is not who may do this.
	Unauthorized Kind = "unauthorized"
	// LimitReached: a limit or quota is used up.
	LimitReached Kind = "limit"
	// Unavailable: a part that is needed does not answer; asking again may work.
	Unavailable Kind = "unavailable"
	// Internal: a defect or a broken machine; the server's log has the details.
	Internal Kind = "internal"
)

// Names of errors that scripts of the first Hermes know, and the new ones.
const (
	NoSuchUser            = "NoSuchUser"
	NoSuchFunction        = "NoSuchFunction"
	NoSuchVersion         = "NoSuchVersion"
	NoSuchRun             = "NoSuchRun"
	NoSuchBlob            = "NoSuchBlob"
	NoSuchArtifact        = "NoSuchArtifact"
	FunctionAlreadyExists = "FunctionAlreadyExists"
	BuildInProgress       = "BuildInProgress"
	NotEnded              = "NotEnded"
	ProcessFinished       = "ProcessFinished"
	NotPermitted          = "NotPermitted"
	ReadOnlyErr           = "ReadOnly"
	InvalidArguments      = "InvalidArguments"
	InputTooLarge         = "InputTooLarge"
	InvalidBundle         = "InvalidBundle"
	InvalidConfig         = "InvalidConfig"
	IDInUse               = "IDInUse"
	ServerUnavailable     = "ServerUnavailable"
	InternalError         = "InternalError"
	UserAlreadyExists     = "UserAlreadyExists"
	AuthenticationError   = "AuthenticationError"
	RegistrationClosedErr = "RegistrationClosed"
	InvalidInvite         = "InvalidInvite"
	UserDisabled          = "UserDisabled"
	TooManyAttempts       = "TooManyAttempts"
	NoSuchWatcher         = "NoSuchWatcher"
	NoSuchGPU             = "NoSuchGPU"
	TooManyRequests       = "TooManyRequests"
	NoSuchKey             = "NoSuchKey"
	KeysLimitReached      = "KeysLimitReached"
	QuotaExceeded         = "QuotaExceeded"
)

// Error is every error that a user of the API sees.
type Error struct {
	Kind Kind `json:"kind"`
	// Name is stable; scripts match on it.
	Name string `json:"name"`
	// Message is one sentence: what was wrong, and where.
	Message string `json:"message"`
	// Detail is what a person may need besides, such as one line for each wrong field.
	Detail string `json:"detail,omitempty"`
	// Hint is what to do next.
	Hint string `json:"hint,omitempty"`
	// Never: of LimitReached, waiting does not help. What was asked for is more than the limit by itself.
	Never bool `json:"never,omitempty"`
}

// Error is for logs; people are shown the hint, too.
func (e *Error) Error() string { return e.Name + ": " + e.Message }

// Errorf makes an Error.
func Errorf(kind Kind, name, format string, args ...any) *Error {
	return &Error{Kind: kind, Name: name, Message: fmt.Sprintf(format, args...)}
}

// WithHint returns the error with what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// WithDetail returns the error with more to read.
func (e *Error) WithDetail(detail string) *Error {
	c := *e
	c.Detail = detail
	return &c
}

// AsError returns err's *Error if it wraps one.
func AsError(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// IsKind reports whether err wraps an *Error of this kind.
func IsKind(err error, kind Kind) bool {
	e, ok := AsError(err)
	return ok && e.Kind == kind
}

func decodeError(raw []byte) *Error {
	var e Error
	if err := json.Unmarshal(raw, &e); err != nil || e.Kind == "" {
		return Errorf(Internal, InternalError, "the server answered with an error that cannot be read")
	}
	return &e
}
