package watcher

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/cuda"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

const (
	// runtimeTimeout bounds a call to the runtime that does not wait for a command.
	runtimeTimeout = 30 * time.Second
	// killEvery is how often a kill is repeated while the command has not ended.
	killEvery = time.Second
)

// errStuck: a command survived SIGKILL.
var errStuck = errors.New("the command does not end, not even by SIGKILL")

// waited is what a sandbox's Wait returned.
type waited struct {
	exit sandbox.Exit
	err  error
}

// command runs one command to its end, or until the attempt is halted and the command is dead.
// Errors are the runtime's, or errStuck.
func (w *Watcher) command(a *attempt, box sandbox.Sandbox, cmd sandbox.Command) (sandbox.Exit, error) {
	ctx, cancel := context.WithTimeout(w.life, runtimeTimeout)
	defer cancel()
	if err := box.Start(ctx, cmd); err != nil {
		return sandbox.Exit{}, err
	}
	if f := a.input(); f != nil {
		f.Started()
	}
	end := make(chan waited, 1)
	w.work.Go(func() {
		exit, err := box.Wait(w.life)
		end <- waited{exit, err}
	})
	select {
	case e := <-end:
		return e.exit, e.err
	case <-a.halted:
		return w.stop(a, box, end)
	}
}

// stop ends the running command: SIGTERM and a grace period unless it is urgent, then SIGKILL
// until it is gone.
func (w *Watcher) stop(a *attempt, box sandbox.Sandbox, end <-chan waited) (sandbox.Exit, error) {
	if !a.why().urgent() {
		if err := w.bounded(func(ctx context.Context) error { return box.Signal(ctx, syscall.SIGTERM) }); err != nil {
			w.Log.Warn("cannot send SIGTERM", "execution", a.ID, "err", err)
		}
		grace := time.NewTimer(w.StopGrace)
		defer grace.Stop()
		select {
		case e := <-end:
			return e.exit, e.err
		case <-a.rushed:
		case <-grace.C:
		}
	}
	giveUp := time.NewTimer(w.KillWait)
	defer giveUp.Stop()
	again := time.NewTicker(killEvery)
	defer again.Stop()
	for {
		if err := w.bounded(box.Kill); err != nil {
			w.Log.Warn("cannot kill a command; trying again", "execution", a.ID, "err", err)
		}
		select {
		case e := <-end:
			return e.exit, e.err
		case <-again.C:
		case <-giveUp.C:
			return sandbox.Exit{Code: 128 + int(syscall.SIGKILL), Signal: syscall.SIGKILL}, errStuck
		}
	}
}

func (w *Watcher) bounded(call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(w.life, runtimeTimeout)
	defer cancel()
	return call(ctx)
}

// judge turns the error of a command into a failure; nil when the exit says it all. missing is
// what is said of a command that cannot be executed.
func judge(err error, missing func(error) *failure) *failure {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sandbox.ErrNotFound), errors.Is(err, sandbox.ErrNotExecutable):
		return missing(err)
	case errors.Is(err, sandbox.ErrGone):
		return failuref(events.ReasonSandbox, "the sandbox died: %v; run it again", err)
	}
	return failuref(events.ReasonSandbox, "the container runtime failed: %v; run it again", err)
}

// environment is what every command finds in its environment. What the base says replaces what is
// only a default, and the function's own config both, but not what Hermes says of the execution.
//
// A build is told what the fleet's GPUs are, and finds the machine's CUDA toolkit where it stands on that
// machine.
func environment(a *attempt, base []string, toolkit cuda.Toolkit) []string {
	if a.Request.Base != events.HostBase {
		toolkit = cuda.Toolkit{}
	}
	env := map[string]string{
		"PATH": toolkit.Path(),
		"HOME": "/tmp",
		"LANG": "C.UTF-8",
	}
	maps.Copy(env, toolkit.Environment(a.Request.ComputeCapabilities))
	for _, variable := range base {
		// An image's home belongs to its own user.
		if name, value, _ := strings.Cut(variable, "="); name != "HOME" {
			env[name] = value
		}
	}
	maps.Copy(env, a.Request.Env)
	env["HERMES_FUNCTION"] = a.Request.Function.String()
	env["HERMES_EXECUTION"] = a.ID
	if a.Request.Kind == events.KindRun && a.Request.Limits.ResultsBytes > 0 {
		env["HERMES_RESULTS"] = sandbox.ResultsDir
	}
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
