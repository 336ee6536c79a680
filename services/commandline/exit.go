package commandline

import "github.com/hermes-serverless/hermes/services/api"

// The exit codes that tell scripts what went wrong.
const (
	ExitOK           = 0
	ExitFailed       = 1
	ExitUsage        = 2
	ExitNotFound     = 3
	ExitConflict     = 4
	ExitUnauthorized = 5
	ExitLimit        = 6
	ExitUnavailable  = 7
)

// ExitCode is the one place where an error becomes an exit code.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	e, ok := api.AsError(err)
	if !ok {
		return ExitFailed
	}
	switch e.Kind {
	case api.Invalid:
		return ExitUsage
	case api.NotFound:
		return ExitNotFound
	case api.Exists, api.State:
		return ExitConflict
	case api.Unauthorized:
		return ExitUnauthorized
	case api.LimitReached:
		return ExitLimit
	case api.Unavailable:
		return ExitUnavailable
	}
	return ExitFailed
}
