package watcher

import (
	"errors"
	"os"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/output"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// runner runs the commands of one granted attempt and notes how they ended.
type runner struct {
	watcher  *Watcher
	attempt  *attempt
	prepared *prepared
	pipes    *outputPipes

	ending   ending
	usage    events.Usage
	artifact *events.Blob
}

func (w *Watcher) openOutput(a *attempt, p *outputPipes) *output.Stream {
	return w.output.Open(w.storing, p.outR, p.errR, output.Options{
		Subject: events.OutputSubject(w.Name, a.Owner, a.ID), Owner: a.Owner, Ref: a.AttemptRef,
		LimitBytes: a.Request.Limits.OutputBytes,
		OnLimit:    func(string) { a.halt(outputLimit) },
	})
}

func (r *runner) run() {
	if r.attempt.Request.Kind == events.KindBuild {
		r.build()
		return
	}
	handler := r.attempt.Request.Handler
	args := append([]string{handlerPath(handler)}, r.attempt.Request.Args...)
	r.step("the function", events.ReasonExit, args, r.prepared.stdin, func(err error) *failure {
		return missingHandler(handler, err)
	})
}

// handlerPath makes sure that the handler is a path: a bare name would be searched in PATH.
func handlerPath(handler string) string {
	if strings.Contains(handler, "/") {
		return handler
	}
	return "./" + handler
}

func missingHandler(handler string, err error) *failure {
	if errors.Is(err, sandbox.ErrNotFound) {
		f := failuref(events.ReasonHandler, "the handler %q is not there, or the interpreter in its first line is not; "+
			"check \"handler\" in hermes.config.json and what make makes", handler)
		f.exitCode = exitNotFound
		return f
	}
	f := failuref(events.ReasonHandler, "the handler %q cannot be executed; let make do `chmod +x %s`, "+
		"and begin a script with a line like #!/bin/sh", handler, handler)
	f.exitCode = exitNotExecutable
	return f
}

// step runs one command and reports whether the attempt may go on after it.
func (r *runner) step(name, reason string, args []string, stdin *os.File, missing func(error) *failure) bool {
	r.ending.step, r.ending.reason = name, reason
	select {
	case <-r.attempt.halted:
		return false // nothing starts after the cause of its end
	default:
	}
	started := time.Now()
	exit, err := r.watcher.command(r.attempt, r.prepared.Box, sandbox.Command{
		Args: args, Env: environment(r.attempt, r.prepared.Env, r.watcher.CUDA), Stdin: stdin, Stdout: r.pipes.outW, Stderr: r.pipes.errW,
	})
	r.usage.RunMicros += time.Since(started).Microseconds()
	r.usage.CPUMicros += exit.Usage.CPU.Microseconds()
	r.usage.PeakMemoryBytes = max(r.usage.PeakMemoryBytes, exit.Usage.PeakMemoryBytes)
	r.ending.exit, r.ending.failure = exit, judge(err, missing)
	r.ending.stuck = errors.Is(err, errStuck)
	return decide(r.ending, r.attempt.Request.Limits).outcome == api.Succeeded && r.attempt.why() == none
}
