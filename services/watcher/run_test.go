package watcher

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs/blobstest"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

func TestRun(t *testing.T) {
	w := newWorld(t)
	stop := w.watch()
	t.Run("prints and succeeds", func(t *testing.T) {
		r, report := w.run(`echo "$HERMES_FUNCTION $HOME $LANG"; echo two >&2; printf '\000three'`)
		if report.Outcome != api.Succeeded || !report.Started || report.AttemptRef != r.AttemptRef || report.ExitCode != 0 {
			t.Errorf("report %+v", report)
		}
		stdout, stderr, end := w.output(r)
		if want := "ada/f:1.0.0 /tmp C.UTF-8\n\x00three"; stdout != want || stderr != "two\n" {
			t.Errorf("output %q, %q", stdout, stderr)
		}
		if o := report.Output; o.SHA256 != end.SHA256 || o.StdoutBytes != int64(len(stdout)) || o.StderrBytes != 4 || o.Chunks != end.Chunks || o.Cut != "" {
			t.Errorf("reported output %+v, end %+v", o, end)
		}
		if report.Usage.RunMicros <= 0 {
			t.Errorf("usage %+v", report.Usage)
		}
	})
	t.Run("args and env of its config", func(t *testing.T) {
		r, report := w.run(`printf '[%s]' "$@"; env | grep -E '^(LEVEL|LANG|HOME|HERMES_[A-Z]*)='`, func(r *api.RunRequest) {
			r.Request.Args = []string{"-n", "", "two words", "$HOME"}
			r.Request.Env = map[string]string{"LEVEL": "a=b c", "LANG": "C", "HERMES_EXECUTION": "mine"}
		})
		stdout, _, _ := w.output(r)
		want := "[-n][][two words][$HOME]"
		printed, ok := strings.CutPrefix(stdout, want)
		if report.Outcome != api.Succeeded || !ok {
			t.Fatalf("printed %q, want %q first; %+v", stdout, want, report)
		}
		env := strings.Fields(printed)
		slices.Sort(env)
		wantEnv := []string{"HERMES_EXECUTION=" + r.ID, "HERMES_FUNCTION=ada/f:1.0.0", "HOME=/tmp", "LANG=C", "LEVEL=a=b", "c"}
		if !slices.Equal(env, wantEnv) {
			t.Errorf("env %q, want %q", env, wantEnv)
		}
	})
	t.Run("exits with 3", func(t *testing.T) {
		_, report := w.run("exit 3")
		expect(t, report, api.Failed, events.ReasonExit, "code 3")
		if report.ExitCode != 3 {
			t.Errorf("exit code %d", report.ExitCode)
		}
	})
	t.Run("kills itself", func(t *testing.T) {
		_, report := w.run("kill -SEGV $$")
		expect(t, report, api.Failed, events.ReasonSignal, "SIGSEGV")
		if report.ExitCode != 139 || report.Signal != "SIGSEGV" {
			t.Errorf("report %+v", report)
		}
	})
	t.Run("inline input", func(t *testing.T) {
		in := bytes.Repeat([]byte("0123456\n"), events.MaxInlineInputBytes/8)
		r, report := w.run("cat", func(r *api.RunRequest) { r.Request.Input.Inline = in })
		if stdout, _, _ := w.output(r); report.Outcome != api.Succeeded || stdout != string(in) {
			t.Errorf("%+v, %d bytes came back of %d", report, len(stdout), len(in))
		}
	})
	t.Run("input blob", func(t *testing.T) {
		in := bytes.Repeat([]byte("0123456\n"), 60_000)
		blob := w.blobs.Add(in)
		r, report := w.run("cat", func(r *api.RunRequest) { r.Request.Input.Blob = &blob })
		if stdout, _, _ := w.output(r); report.Outcome != api.Succeeded || stdout != string(in) {
			t.Errorf("%+v, %d bytes came back of %d", report, len(stdout), len(in))
		}
	})
	t.Run("no input", func(t *testing.T) {
		r, _ := w.run("wc -c")
		if stdout, _, _ := w.output(r); strings.TrimSpace(stdout) != "0" {
			t.Errorf("%q", stdout)
		}
	})
	t.Run("no handler", func(t *testing.T) {
		_, report := w.run("true", func(r *api.RunRequest) { r.Request.Handler = "nothing" })
		expect(t, report, api.Failed, events.ReasonHandler, `"nothing"`)
		if report.ExitCode != 127 || !report.Started {
			t.Errorf("report %+v", report)
		}
	})
	t.Run("handler is no program", func(t *testing.T) {
		r := w.request(w.function("true", 0o644))
		w.place(r)
		report := next(t, "report", w.reports)
		expect(t, report, api.Failed, events.ReasonHandler, "chmod +x handler")
		if report.ExitCode != 126 {
			t.Errorf("report %+v", report)
		}
	})
	t.Run("prints too much", func(t *testing.T) {
		r, report := w.run("yes", func(r *api.RunRequest) { r.Request.Limits.OutputBytes = 100_000 })
		expect(t, report, api.Failed, events.ReasonOutputLimit, "98 KiB")
		if stdout, _, end := w.output(r); len(stdout) != 100_000 || end.Cut == "" || report.Output.Cut != end.Cut {
			t.Errorf("%d bytes, end %+v", len(stdout), end)
		}
	})
	t.Run("runs too long", func(t *testing.T) {
		r, report := w.run("trap '' TERM; echo on; while :; do sleep 1; done", func(r *api.RunRequest) { r.Request.Limits.TimeoutMillis = 500 })
		// On a busy machine the time may be over before the command ignores the signal.
		stdout, _, _ := w.output(r)
		if report.Outcome != api.TimedOut || stdout != "" && report.Signal != "SIGKILL" {
			t.Errorf("report %+v, output %q", report, stdout)
		}
	})
	t.Run("no artifact", func(t *testing.T) {
		r := w.request(blobstest.Blob([]byte("nowhere")))
		w.place(r)
		report := next(t, "report", w.reports)
		expect(t, report, api.Failed, events.ReasonInput, "no such blob")
		if report.Started {
			t.Error("reported as started")
		}
	})
	t.Run("no base", func(t *testing.T) {
		_, report := w.run("true", func(r *api.RunRequest) { r.Request.Base = "moon" })
		expect(t, report, api.Failed, events.ReasonSandbox, "moon")
	})
	t.Run("runtime away for a moment", func(t *testing.T) {
		failures := 2
		w.box.fail = func() error {
			if failures--; failures >= 0 {
				return fmt.Errorf("create: %w", sandbox.ErrUnavailable)
			}
			return nil
		}
		if _, report := w.run("true"); report.Outcome != api.Succeeded {
			t.Errorf("report %+v", report)
		}
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := w.box.count(); n != 0 || w.reportFiles() != 0 {
		t.Errorf("%d sandboxes and %d reports are left", n, w.reportFiles())
	}
}

func expect(t *testing.T, r api.Report, outcome api.Outcome, reason, message string) {
	t.Helper()
	if r.Outcome != outcome || r.Reason != reason || !strings.Contains(r.Message, message) {
		t.Errorf("report %s, %s, %q; want %s, %s, %q", r.Outcome, r.Reason, r.Message, outcome, reason, message)
	}
}
