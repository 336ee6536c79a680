package watcher

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/bundle"
)

func leaves(r *api.RunRequest) { r.Request.Limits.ResultsBytes = 1 << 20 }

// filesOf reads what was kept of a run.
func (w *world) filesOf(left *events.Results) map[string]string {
	w.t.Helper()
	if left == nil || left.Archive == nil {
		return nil
	}
	var archive bytes.Buffer
	if err := w.blobs.Get(w.t.Context(), *left.Archive, &archive); err != nil {
		w.t.Fatal(err)
	}
	files := map[string]string{}
	err := bundle.Walk(w.t.Context(), &archive, bundle.Limits{}, func(e bundle.Entry, content func(io.Writer) error) error {
		var text strings.Builder
		if e.Folder {
			return nil
		}
		err := content(&text)
		files[e.Name] = text.String()
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}

// TestResults: what a run leaves is kept, however it ends; a run that leaves nothing costs nothing.
func TestResults(t *testing.T) {
	w := newWorld(t)
	w.watch()
	for what, c := range map[string]struct {
		script  string
		change  func(*api.RunRequest)
		outcome api.Outcome
	}{
		"success": {`cd "$HERMES_RESULTS" && mkdir a && echo one >a/one`, nil, api.Succeeded},
		"failure": {`cd "$HERMES_RESULTS" && mkdir a && echo one >a/one; exit 3`, nil, api.Failed},
		"timeout": {`cd "$HERMES_RESULTS" && mkdir a && echo one >a/one; while :; do sleep 1; done`,
			func(r *api.RunRequest) { r.Request.Limits.TimeoutMillis = 1500 }, api.TimedOut},
	} {
		t.Run(what, func(t *testing.T) {
			change := c.change
			if change == nil {
				change = func(*api.RunRequest) {}
			}
			_, report := w.run(c.script, leaves, change)
			if files := w.filesOf(report.Results); report.Outcome != c.outcome || len(files) != 1 || files["a/one"] != "one\n" || report.Results.Cut != "" {
				t.Errorf("report %+v, results %+v, kept %v", report, report.Results, files)
			}
			if report.Results != nil && (report.Results.Files != 1 || report.Results.Bytes != 4) {
				t.Errorf("results %+v", report.Results)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		r := w.request(w.function(`echo one >"$HERMES_RESULTS/one"; touch `+w.flag("on")+"; while :; do sleep 0.01; done", 0o755))
		leaves(&r)
		w.place(r)
		w.eventually("start", func() bool { return exists(w.flag("on")) })
		w.cancel(r)
		report := next(t, "report", w.reports)
		if files := w.filesOf(report.Results); report.Outcome != api.Cancelled || files["one"] != "one\n" {
			t.Errorf("report %+v, kept %v", report, files)
		}
	})
	before := w.blobs.Len()
	for what, script := range map[string]string{"nothing": "true", "an empty folder": `mkdir "$HERMES_RESULTS/a"`, "what it removed": `cd "$HERMES_RESULTS" && echo x >x && rm x`} {
		if _, report := w.run(script, leaves); report.Outcome != api.Succeeded || report.Results != nil {
			t.Errorf("%s: report %+v, results %+v", what, report, report.Results)
		}
	}
	if _, report := w.run(`test -z "$HERMES_RESULTS"`); report.Outcome != api.Succeeded || report.Results != nil {
		t.Errorf("without a folder of results: report %+v", report)
	}
	if now := w.blobs.Len(); now != before {
		t.Errorf("%d blobs were stored for nothing", now-before)
	}
}

// TestResultsThatCannotBeKept: the run is as it was, and the results say what is missing.
func TestResultsThatCannotBeKept(t *testing.T) {
	w := newWorld(t)
	w.watch()
	_, report := w.run(`cd "$HERMES_RESULTS" && ln -s /etc/passwd a && mkfifo b && echo fine >c && head -c 2000000 /dev/zero >d`, leaves)
	files := w.filesOf(report.Results)
	if report.Outcome != api.Succeeded || len(files) != 1 || files["c"] != "fine\n" {
		t.Errorf("report %+v, kept %v", report, files)
	}
	if cut := report.Results.Cut; !strings.HasPrefix(cut, "3 files and folders were left out; the first: ") || !strings.Contains(cut, "up to 1.0 MiB") {
		t.Errorf("it says %q", cut)
	}
	_, report = w.run(`ln -s / "$HERMES_RESULTS/root"`, leaves)
	if report.Outcome != api.Succeeded || report.Results == nil || report.Results.Archive != nil || !strings.Contains(report.Results.Cut, `"root" is a link`) {
		t.Errorf("report %+v, results %+v", report, report.Results)
	}
}

// TestResultsOfAReusedSandbox are those of its last run alone.
func TestResultsOfAReusedSandbox(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Warm = 8 })
	w.watch()
	artifact := w.function(`ls -A "$HERMES_RESULTS"; echo "$1" >"$HERMES_RESULTS/$1"`, 0o755)
	for i, name := range []string{"one", "two", "three"} {
		r, claim := w.start(artifact, reuse, leaves, func(r *api.RunRequest) { r.Request.Args = []string{name} })
		report := next(t, "report", w.reports)
		files := w.filesOf(report.Results)
		if stdout, _, _ := w.output(r); len(files) != 1 || files[name] != name+"\n" || stdout != "" {
			t.Errorf("run %d: kept %v, found %q", i, files, stdout)
		}
		if i > 0 && claim.Sandbox != "reused" {
			t.Errorf("run %d is in a %s sandbox", i, claim.Sandbox)
		}
	}
}
