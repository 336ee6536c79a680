package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	clients = 4  // connections that ask for most of the executions
	pending = 8  // of each connection, at most
	byCLI   = 10 // each n-th is asked for by the program
)

// job is an execution of the mix and what must become of it, unless its watcher is killed.
type job struct {
	input  string
	status executions.Status
	code   int
	stdout string
	stderr string
	// cut: it is ended by force, wherever it is then in its output.
	cut           bool
	cancel        bool
	timeoutMillis int64
	id            string
}

// newJob makes the n-th job; what it prints is no other's.
func newJob(n int) *job {
	seed := uint64(n)
	j := &job{status: executions.Success}
	short := func(bytes int) {
		j.input, j.stdout = fmt.Sprintf("print %d %d\n", bytes, n), printed(bytes, seed)
	}
	switch n % 10 {
	case 0, 1:
		short(1000 + n)
	case 2:
		j.input, j.stdout = fmt.Sprintf("drip %d 50\n", 100+n%7), numbered("drop", 100+n%7)
	case 3:
		code := 1 + n%100
		j.input, j.stdout, j.status, j.code = fmt.Sprintf("exit %d\n", code), "exiting\n", executions.Error, code
	case 4:
		j.input, j.stdout, j.status, j.code = "abort\n", "aborting\n", executions.Error, 134
	case 5:
		short(300_000)
	case 6:
		short(1_000_000)
	case 7:
		j.input, j.stdout, j.status, j.cancel, j.cut = "heed\n", "begun\nheeded\n", executions.Cancelled, true, true
	case 8:
		j.input, j.stdout, j.status, j.timeoutMillis, j.cut = "sleep 3600000\n", "begun\n", executions.Timeout, 200, true
	case 9:
		lines := 50 + n
		j.input, j.stdout, j.stderr = fmt.Sprintf("both %d\n", lines), numbered("out", lines), numbered("err", lines)
	}
	return j
}

// TestMixed runs all kinds of executions from several clients while hermesd and its containerd are
// killed again and again, and then looks at every event, every byte and the machine.
//
// HERMES_MIXED=2000 makes it as many executions, with as many more kills; HERMES_SEED=2 chooses
// other moments for them.
func TestMixed(t *testing.T) {
	needMachine(t)
	s := newSingle(t, "--slots", fmt.Sprint(slots), "--grace", "5s")
	w := world{s.user, s.connect(t)}
	w.deploy(t, writeActs(t, "acts", nil))
	jobs := make([]*job, number(t, "HERMES_MIXED", 200))
	for n := range jobs {
		jobs[n] = newJob(n)
	}
	k := &killing{}
	plan := planDeaths(len(jobs), uint64(number(t, "HERMES_SEED", 1)))
	all := runJobs(t, w, jobs, k)
	for _, d := range plan {
		k.await(t, d.after)
		if d.containerd {
			must(t, syscall.Kill(childContainerd(t, s.dir), syscall.SIGKILL))
			continue
		}
		awaitDripping(t, w)
		k.note()
		s.process.kill(t)
		s.up(t)
	}
	all.Wait()
	checkMixed(t, w, s, jobs, k)
	s.checkEnd(t)
	t.Logf("after %d executions and %d kills nothing is left on the machine: %t", len(jobs), len(plan), !t.Failed())
}

// number is what an environment variable says, or what holds without it.
func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text, set := os.LookupEnv(variable)
	if !set {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// awaitDripping returns when an execution has just begun that takes longer than a kill.
func awaitDripping(t *testing.T, w world) {
	t.Helper()
	eventually(t, "one that runs for a while", func() bool {
		list := ask[api.Executions](t, w.client, api.OpExecutionList, api.ExecutionList{Limit: 500})
		return slices.ContainsFunc(list.Executions, func(e api.Execution) bool {
			return e.Status == executions.Running && time.Since(e.StartedAt) < 3*time.Second &&
				strings.HasPrefix(string(w.inspect(t, e.ID).Request.Input.Inline), "drip")
		})
	})
}

// runJobs asks for all jobs and sees each to its end.
func runJobs(t *testing.T, w world, jobs []*job, k *killing) *sync.WaitGroup {
	t.Helper()
	var all sync.WaitGroup
	for c := range clients {
		client, room := w.connect(t), make(chan struct{}, pending)
		all.Go(func() {
			for n := c; n < len(jobs); n += clients {
				room <- struct{}{}
				all.Go(func() {
					defer func() { <-room; k.ended.Add(1) }()
					if n%byCLI == byCLI-1 {
						runByCLI(t, w, jobs[n])
					} else if err := runByAPI(client, jobs[n]); err != nil {
						t.Errorf("job %d: %v", n, err)
					}
				})
			}
		})
	}
	return &all
}

// runByAPI repeats its request with the same id until it is answered, as a client may.
func runByAPI(c *api.Client, j *job) error {
	j.id = api.NewID()
	ask := api.Run{
		ID: j.id, Function: events.FunctionRef{Name: "acts"}, Input: events.Input{Inline: []byte(j.input)}, TimeoutMillis: j.timeoutMillis,
	}
	accepted, err := tryAsk[api.Accepted](c, api.OpRun, ask)
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	ref := api.ExecutionRef{ID: j.id, MinSequence: accepted.Sequence}
	if j.cancel {
		_, err := tryUntil(c, ref, func(e api.Execution) bool { return e.Status != executions.Queued })
		if err == nil {
			_, err = tryAsk[api.Execution](c, api.OpExecutionCancel, ref)
		}
		// One that was lost has ended before it could be cancelled.
		if e, ok := api.AsError(err); err != nil && (!ok || e.Name != api.ProcessFinished) {
			return fmt.Errorf("cancel: %w", err)
		}
	}
	_, err = tryAwait(c, ref)
	return err
}

// runByCLI gets what the function printed, or an error with a name. The id is the program's own.
func runByCLI(t *testing.T, w world, j *job) {
	r := w.hermes(t, []byte(j.input), "function", "run", "acts", "--json")
	if r.code == 125 {
		if !strings.Contains(r.stderr, `"name": "`) && !strings.Contains(r.stdout, `"status": "lost"`) {
			t.Errorf("%q by the program failed without a name:\n%s%s", j.input, r.stdout, r.stderr)
		}
		return
	}
	var got struct {
		ID       string `json:"id"`
		Out, Err string
	}
	if err := decode(r.stdout, &got); err != nil || got.Out != j.stdout || got.Err != j.stderr || r.code != j.code {
		t.Errorf("%q by the program: exit code %d, %v, %d and %d bytes\n%s", j.input, r.code, err, len(got.Out), len(got.Err), r.stderr)
	}
	j.id = got.ID
}

// checkMixed compares every job with the log, and every view with its stream.
func checkMixed(t *testing.T, w world, s *single, jobs []*job, k *killing) {
	t.Helper()
	js := operator(t, s.url, filepath.Join(s.dir, "keys", "operator.nk"))
	awaitAllEnded(t, w)
	all := checkLog(t, js)
	counts := map[executions.Status]int{}
	for n, j := range jobs {
		e, known := all[j.id]
		if !known {
			if n%byCLI != byCLI-1 {
				t.Errorf("job %d was accepted and is not in the log", n)
			}
			continue
		}
		counts[e.Status]++
		o, err := tryOutput(w.client, j.id)
		must(t, err)
		checkJob(t, n, j, e, o, k)
	}
	t.Logf("of %d executions in the log, these ended so: %v", len(all), counts)
	if counts[executions.Lost] == 0 {
		t.Error("no kill hit an execution that ran")
	}
	checkQueueEmpty(t, js)
	checkViews(t, s.user)
}

// awaitAllEnded waits for executions, too, whose client gave them up.
func awaitAllEnded(t *testing.T, w world) {
	t.Helper()
	for page := (api.ExecutionList{Limit: 500}); ; {
		list := ask[api.Executions](t, w.client, api.OpExecutionList, page)
		for _, e := range list.Executions {
			await(t, w.client, api.ExecutionRef{ID: e.ID})
			page.Before = e.Number
		}
		if !list.More {
			return
		}
	}
}

func checkJob(t *testing.T, n int, j *job, e executions.Execution, o output, k *killing) {
	t.Helper()
	if e.Status == executions.Lost {
		if !k.during(e.StartedAt, e.EndedAt) {
			t.Errorf("job %d is lost, but hermesd was not killed between %s and %s: %s", n, e.StartedAt, e.EndedAt, e.Message)
		}
		if !strings.HasPrefix(j.stdout, o.stdout) || !strings.HasPrefix(j.stderr, o.stderr) {
			t.Errorf("job %d is lost, and what is stored is not what it printed first", n)
		}
		return
	}
	if e.Status != j.status || j.code != 0 && e.ExitCode != j.code {
		t.Errorf("job %d (%q) ended %s with %d: %s %s", n, j.input, e.Status, e.ExitCode, e.Reason, e.Message)
	}
	if e.Attempt == 0 {
		return // cancelled in the queue
	}
	checkSums(t, e, o)
	if j.cut && strings.HasPrefix(j.stdout, o.stdout) {
		return
	}
	if o.stdout != j.stdout || o.stderr != j.stderr || e.Output.Cut != "" {
		t.Errorf("job %d (%q) printed %d and %d bytes, want %d and %d, cut %q", n, j.input,
			len(o.stdout), len(o.stderr), len(j.stdout), len(j.stderr), e.Output.Cut)
	}
}
