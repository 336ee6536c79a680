package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	// startTime is how long a server may take until it can be used, stopTime until it has ended.
	startTime = 30 * time.Second
	stopTime  = 60 * time.Second
)

// daemon starts a server that stays in the foreground, and has it stopped at the end. Its log is
// NAME.log in the folder. It is not ended by the context: it is stopped in its turn.
func (b *bench) daemon(ctx context.Context, name string, env []string, program string, args ...string) error {
	_, err := b.start(ctx, name, env, program, args...)
	return err
}

func (b *bench) start(ctx context.Context, name string, env []string, program string, args ...string) (*exec.Cmd, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	log, err := os.Create(b.path(name + ".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, log, log
	// A Ctrl-C of the terminal is ours to hear, not theirs.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	b.later(func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
			return nil
		case <-time.After(stopTime):
			_ = cmd.Process.Kill()
			<-done
			return fmt.Errorf("%s did not end on SIGTERM and was killed", name)
		}
	})
	return cmd, nil
}

// waitUntil polls until something is so.
func waitUntil(ctx context.Context, what string, is func() bool) error {
	for end := time.Now().Add(startTime); !is(); time.Sleep(20 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s did not come up within %s", what, startTime)
		}
	}
	return nil
}

// logTail is the end of a daemon's log, for errors.
func (b *bench) logTail(name string) string {
	raw, _ := os.ReadFile(b.path(name + ".log"))
	return lastLine(raw)
}
