package cli

import (
	"context"
	"errors"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/commandline"
)

// The exit codes of every command but a synchronous `function run`.
const (
	exitOK           = commandline.ExitOK
	exitFailed       = commandline.ExitFailed
	exitUsage        = commandline.ExitUsage
	exitNotFound     = commandline.ExitNotFound
	exitConflict     = commandline.ExitConflict
	exitUnauthorized = commandline.ExitUnauthorized
	exitLimit        = commandline.ExitLimit
	exitUnavailable  = commandline.ExitUnavailable
)

// The exit codes of `function run`, besides the function's own.
const (
	exitTimeout   = 124
	exitHermes    = 125
	exitCancelled = 130
)

// exitError is an error with an exit code of its own. A nil err is an end of which everything has
// been said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return "" // nothing more to say
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// notOfTheFunction marks an error that is not the function's own failure, where the exit code else is
// the function's, so that scripts can tell them apart.
func notOfTheFunction(err error) error {
	var exit *exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return &exitError{code: exitHermes, err: err}
}

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, context.Canceled):
		return exitCancelled
	}
	return commandline.ExitCode(err)
}

// executionExit is the exit code that stands for how a function ended.
func executionExit(e api.Execution) int {
	switch e.Status {
	case executions.Success:
		return exitOK
	case executions.Timeout:
		return exitTimeout
	case executions.Cancelled:
		return exitCancelled
	case executions.Error:
		if e.ExitCode != 0 && ownEnd(e.Reason) {
			return e.ExitCode
		}
	}
	return exitHermes
}

// ownEnd says whether a failure is the function's: its exit code then means something.
func ownEnd(reason string) bool {
	switch reason {
	case events.ReasonExit, events.ReasonSignal, events.ReasonOOM, events.ReasonPIDs,
		events.ReasonDisk, events.ReasonOutputLimit, events.ReasonHandler:
		return true
	}
	return false
}
