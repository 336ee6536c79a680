package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

func TestElapsed(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                     "00:00:00.000",
		-time.Second:                          "00:00:00.000",
		1234 * time.Millisecond:               "00:00:01.234",
		time.Hour + time.Minute + time.Second: "01:01:01.000",
		123 * time.Hour:                       "123:00:00.000",
	} {
		if got := elapsed(d); got != want {
			t.Errorf("elapsed(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 100 << 20: "100 MiB", 1 << 50: "1024 TiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestBothSpellings(t *testing.T) {
	for in, want := range map[string]string{
		"function:run x":                "function run x",
		"function run x:1.0.0":          "function run x:1.0.0",
		"--context a function:run x":    "--context a function run x",
		"-o json execution:list":        "-o json execution list",
		"-j remote:whoami":              "-j remote whoami",
		"help function:run":             "help function run",
		"__complete function:run e":     "__complete function run e",
		"config context:x y":            "config context:x y",
		"run function:x":                "run function:x",
		"function:":                     "function:",
		"other:run":                     "other:run",
		"-- function:run":               "-- function:run",
		"execution:inspect function:no": "execution inspect function:no",
	} {
		if got := splitSpelling(strings.Fields(in)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s became %v, want %s", in, got, want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for kind, want := range map[api.Kind]int{
		api.Invalid: 2, api.NotFound: 3, api.Exists: 4, api.State: 4, api.Unauthorized: 5,
		api.LimitReached: 6, api.Unavailable: 7, api.Internal: 1,
	} {
		err := fmt.Errorf("while doing: %w", api.Errorf(kind, "Name", "message"))
		if got := exitCode(err); got != want {
			t.Errorf("%s exits with %d, want %d", kind, got, want)
		}
	}
	if exitCode(nil) != 0 || exitCode(errors.New("x")) != 1 || exitCode(context.Canceled) != 130 {
		t.Error("nil, any other or a cancelled one exits with another code")
	}
}

func TestExecutionExitCodes(t *testing.T) {
	for _, c := range []struct {
		status executions.Status
		reason string
		code   int
		want   int
	}{
		{executions.Success, "", 0, 0},
		{executions.Error, events.ReasonExit, 3, 3},
		{executions.Error, events.ReasonSignal, 139, 139},
		{executions.Error, events.ReasonOOM, 137, 137},
		{executions.Error, events.ReasonHandler, 127, 127},
		{executions.Error, events.ReasonHandler, 126, 126},
		{executions.Error, events.ReasonDisk, 1, 1},
		{executions.Error, events.ReasonOutputLimit, 0, 125},
		{executions.Error, events.ReasonSandbox, 0, 125},
		{executions.Error, events.ReasonInput, 0, 125},
		{executions.Error, events.ReasonShutdown, 143, 125},
		{executions.Timeout, "", 137, 124},
		{executions.Cancelled, "", 143, 130},
		{executions.Lost, "", 0, 125},
	} {
		var e api.Execution
		e.Status, e.Reason, e.ExitCode = c.status, c.reason, c.code
		if got := executionExit(e); got != c.want {
			t.Errorf("%s %s %d exits with %d, want %d", c.status, c.reason, c.code, got, c.want)
		}
	}
}

func TestRedacted(t *testing.T) {
	for in, want := range map[string]string{
		"nats://ana:sesame@host:4222":    "nats://host:4222",
		"tls://token@a:1,nats://b:2":     "tls://a:1,nats://b:2",
		"ana:se@same@host:4222":          "host:4222",
		"nats://127.0.0.1:4222,nats://c": "nats://127.0.0.1:4222,nats://c",
	} {
		if got := redacted(in); got != want {
			t.Errorf("redacted(%s) = %s, want %s", in, got, want)
		}
	}
}
