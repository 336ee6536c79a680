package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/cli/iostreams"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/services/api"
)

// TestLines: together they are what was read, each has one end, and the count is known before.
func TestLines(t *testing.T) {
	readers := []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader,
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOf(rapid.SampledFrom([]byte("ab\r\n\n\x00"))).Draw(t, "text")
		if rapid.Bool().Draw(t, "long") {
			text = append(text, bytes.Repeat([]byte("x"), 70_000)...)
		}
		count, err := countLines(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		lines, whole := int64(0), true
		for in, err := range eachLine(rapid.SampledFrom(readers).Draw(t, "reader")(bytes.NewReader(text))) {
			if err != nil {
				t.Fatal(err)
			}
			if lines++; in.index != lines {
				t.Fatalf("line %d has index %d", lines, in.index)
			}
			// Who does not read a line to its end finds the next one all the same.
			if rapid.IntRange(0, 9).Draw(t, "skip") == 0 {
				whole = false
				_, _ = io.CopyN(io.Discard, in, 3)
				continue
			}
			line, err := io.ReadAll(in)
			if err != nil || bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
				t.Fatalf("line %d is %q, %v", lines, line, err)
			}
			got = append(got, line...)
		}
		want := text
		if len(text) > 0 && text[len(text)-1] != '\n' {
			want = append(slices.Clone(text), '\n')
		}
		if lines != count || whole && !bytes.Equal(got, want) {
			t.Fatalf("%d lines of %d, %q, want %q", lines, count, got, want)
		}
	})
}

func TestLinesThatCannotBeRead(t *testing.T) {
	broken := errors.New("broken")
	var last error
	n := 0
	for in, err := range eachLine(io.MultiReader(strings.NewReader("one\ntwo"), iotest.ErrReader(broken))) {
		if last = err; err == nil {
			n++
			_, _ = io.ReadAll(in)
		}
	}
	if n != 2 || !errors.Is(last, broken) {
		t.Errorf("%d lines, then %v", n, last)
	}
}

func TestFolderInputs(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b/2", "b/1", "a.txt", "c", ".hidden", ".git/config"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(name), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("c", filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	in, err := openMapInputs(dir, &iostreams.Streams{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for each, err := range in.each {
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(each)
		if err != nil || len(content) == 0 {
			t.Errorf("%s: %v", each.name, err)
		}
		_ = each.Reader.(io.Closer).Close()
		names = append(names, fmt.Sprint(each.index, " ", each.name))
	}
	if want := []string{"1 a.txt", "2 b/1", "3 b/2", "4 c", "5 d"}; !slices.Equal(names, want) || in.total != 5 {
		t.Errorf("%d inputs: %q, want %q", in.total, names, want)
	}
	if err := os.Symlink("b", filepath.Join(dir, "e")); err != nil {
		t.Fatal(err)
	}
	if _, err := openMapInputs(dir, &iostreams.Streams{}); !api.IsKind(err, api.Invalid) {
		t.Errorf("a link to a folder: %v", err)
	}
}

func TestShellWords(t *testing.T) {
	for word, want := range map[string]string{
		"a/b-c.txt": "a/b-c.txt", "-": "-", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(rm)": "'$(rm)'", "~": "'~'", "é": "'é'",
	} {
		if got := shellWord(word); got != want {
			t.Errorf("%q becomes %s, want %s", word, got, want)
		}
	}
}

// TestReportIsTheSum of what it was given, in whichever order.
func TestReportIsTheSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &mapper{functionMapOptions: &functionMapOptions{app: testApp(), batch: "B"}}
		r := newMapReport(m)
		counts, failed, total := map[string]int64{}, int64(0), int64(0)
		var runs []float64
		indices := rapid.Permutation(make([]int, rapid.IntRange(0, 30).Draw(t, "inputs"))).Draw(t, "order")
		for i := range indices {
			end := mapEnd{mapInput: mapInput{index: int64(len(indices) - i)}}
			end.exec.Status = rapid.SampledFrom([]executions.Status{executions.Success, executions.Error, executions.Lost}).Draw(t, "status")
			if rapid.Bool().Draw(t, "ran") {
				end.exec.Attempt, end.exec.Usage.RunMicros = 1, rapid.Int64Range(0, 1e7).Draw(t, "micros")
				runs, total = append(runs, float64(end.exec.Usage.RunMicros)), total+end.exec.Usage.RunMicros
			}
			counts[string(end.exec.Status)]++
			if fails := end.exec.Status != executions.Success; fails != r.add(end) {
				t.Fatalf("%s counts as a failure: %v", end.exec.Status, !fails)
			} else if fails {
				failed++
			}
		}
		r.sum(m)
		slices.Sort(runs)
		median := 0.0
		if n := len(runs); n > 0 {
			median = (runs[(n-1)/2] + runs[n/2]) / 2000
		}
		isSorted := slices.IsSortedFunc(r.Failed, func(a, b mapFailure) int { return int(a.Index - b.Index) })
		if fmt.Sprint(r.Statuses) != fmt.Sprint(counts) || r.FailedCount != failed || int64(len(r.Failed)) != failed || !isSorted ||
			r.MedianRunMillis != median || r.TotalRunMillis != total/1000 {
			t.Fatalf("%+v, want %v, %d failed, median %f of %d µs", r, counts, failed, median, total)
		}
	})
}

// mapServer answers a map: it accepts, unless the test says otherwise, and each has ended at once.
type mapServer struct {
	mu       sync.Mutex
	accepted map[int64]int
	refuse   func(r api.Run, before int) error
}

func (s *mapServer) serve(stub *stub) {
	s.accepted = map[int64]int{}
	asked := map[int64]int{}
	answer(stub, api.OpRun, func(r api.Run) (api.Accepted, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		asked[r.Batch.Index]++
		if s.refuse != nil {
			if err := s.refuse(r, asked[r.Batch.Index]-1); err != nil {
				return api.Accepted{}, err
			}
		}
		s.accepted[r.Batch.Index]++
		return api.Accepted{ID: r.ID, Function: events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}}, nil
	})
	answer(stub, api.OpExecutionWait, func(r api.ExecutionWait) (api.Execution, error) {
		return state(executions.Success, func(e *api.Execution) { e.ID = r.ID }), nil
	})
}

func TestMapWaitsForRoomAndForTheServer(t *testing.T) {
	s := newStub(t)
	server := &mapServer{refuse: func(r api.Run, before int) error {
		switch {
		case before < 2 && r.Batch.Index == 3:
			return api.Errorf(api.LimitReached, api.QuotaExceeded, "your queue is full: %d used", before+1)
		case before < 2 && r.Batch.Index == 4:
			return api.Errorf(api.Unavailable, api.ServerUnavailable, "restarting")
		}
		return nil
	}}
	server.serve(s)
	got := s.run("a\nb\nc\nd\ne\n", "function", "map", "pi", "--inputs", "-")
	if got.code != 0 || !strings.Contains(got.out, "5 success") || strings.Count(got.err, "your queue is full: 1 used; waiting for room") != 1 || strings.Count(got.err, "waiting for room") != 1 ||
		strings.Count(got.err, "restarting; waiting for it to come back") != 1 {
		t.Errorf("%+v", got)
	}
	for index := range int64(5) {
		if server.accepted[index+1] == 0 {
			t.Errorf("input %d was not accepted: %v", index+1, server.accepted)
		}
	}
}

// TestMapAsksForGPUs: each run asks for what the command said, and for nothing where it said nothing.
func TestMapAsksForGPUs(t *testing.T) {
	for _, c := range []struct {
		args []string
		want *api.GPU
	}{
		{nil, nil},
		{[]string{"--gpu", "count=2,memory=8GiB", "--gpu", "share=shared"}, &api.GPU{Count: 2, MemoryBytes: 8 << 30, Share: "shared"}},
	} {
		s := newStub(t)
		var asked []*api.GPU
		(&mapServer{refuse: func(r api.Run, _ int) error {
			asked = append(asked, r.GPU)
			return nil
		}}).serve(s)
		got := s.run("a\nb\n", append([]string{"function", "map", "pi", "--inputs", "-"}, c.args...)...)
		if got.code != 0 || len(asked) < 2 {
			t.Errorf("%q: asked %d times: %+v", c.args, len(asked), got)
		}
		for _, each := range asked {
			if diff := cmp.Diff(c.want, each); diff != "" {
				t.Errorf("%q: %s", c.args, diff)
			}
		}
	}
	s := newStub(t)
	if got := s.run("a\n", "function", "map", "pi", "--inputs", "-", "--gpu", "modle=H100"); got.code != exitUsage || !strings.Contains(got.err, "--gpu: modle is not a key; did you mean model?") {
		t.Errorf("%+v", got)
	}
}

// TestMapStopsAtARefusal: what was accepted is waited for, and how to go on is told.
func TestMapStopsAtARefusal(t *testing.T) {
	s := newStub(t)
	server := &mapServer{refuse: func(r api.Run, _ int) error {
		if r.Batch.Index == 3 {
			return api.Errorf(api.State, api.InvalidConfig, "it cannot run any more")
		}
		return nil
	}}
	server.serve(s)
	got := s.run("a\nb\nc\nd\ne\n", "function", "map", "pi", "--inputs", "-", "--concurrency", "1", "--timeout", "90s", "--gpu", "count=2", "--gpu", "model=H100|A100")
	if got.code != exitConflict || !strings.Contains(got.out, "inputs     2\n") || !strings.Contains(got.err, "input 3 was refused: it cannot run any more") ||
		!strings.Contains(got.err, "→ 2 inputs were accepted before; `hermes function map pi --inputs - --timeout 1m30s --gpu 'count=2,model=H100|A100' --resume 01") {
		t.Errorf("%+v", got)
	}
	if server.accepted[4]+server.accepted[5] > 0 {
		t.Errorf("it went on: %v", server.accepted)
	}
}

func TestMapThatCannotBeginEnds(t *testing.T) {
	s := newStub(t)
	server := &mapServer{refuse: func(api.Run, int) error { return api.Errorf(api.LimitReached, api.QuotaExceeded, "nothing at all") }}
	server.serve(s)
	start := time.Now()
	got := s.run("a\n", "function", "map", "pi", "--inputs", "-")
	if got.code != exitLimit || !strings.Contains(got.err, "nothing at all") || time.Since(start) > patience {
		t.Errorf("%+v", got)
	}
}

// TestMapThatNeverFitsEnds: a batch that is resumed waits for room, but not for what waiting cannot give.
func TestMapThatNeverFitsEnds(t *testing.T) {
	s := newStub(t)
	server := &mapServer{refuse: func(r api.Run, _ int) error {
		if r.Batch.Index < 3 {
			return nil
		}
		return api.QuotaExceededError("ana", quotas.Over{Figure: quotas.Memory, Asked: 2 << 30, Limit: 1 << 30, Never: true}, time.Now())
	}}
	server.serve(s)
	got := s.run("a\nb\nc\n", "function", "map", "pi", "--inputs", "-", "--resume", api.NewID())
	if got.code != exitLimit || !strings.Contains(got.err, "input 3 was refused: ana may have 1.0 GiB of memory in use, and 2.0 GiB asked for can never fit") ||
		strings.Contains(got.err, "waiting for room") {
		t.Errorf("%+v", got)
	}
}

// TestMapOfAnotherVersion: a batch has one.
func TestMapOfAnotherVersion(t *testing.T) {
	s := newStub(t)
	(&mapServer{}).serve(s)
	got := s.run("a\n", "function", "map", "pi:2.0.0", "--inputs", "-", "--resume", api.NewID())
	if got.code != exitConflict || !strings.Contains(got.err, "runs ana/pi:1.0.0, not version 2.0.0") {
		t.Errorf("%+v", got)
	}
}

// TestMapSaysWhereToLook: at a failure whose number is known, and at one whose number is not.
func TestMapSaysWhereToLook(t *testing.T) {
	for number, want := range map[int64]string{7: "`hermes execution inspect 7`", 0: "`hermes execution inspect 01A`"} {
		r := newMapReport(&mapper{functionMapOptions: &functionMapOptions{app: testApp()}})
		end := mapEnd{mapInput: mapInput{index: 1}}
		end.exec.ID, end.exec.Number, end.exec.Status = "01A", number, executions.Error
		r.add(end)
		var out, errOut bytes.Buffer
		if err := r.print(newApp(&iostreams.Streams{Out: &out, Err: &errOut})); err != nil || !strings.Contains(errOut.String(), want) {
			t.Errorf("%v; it says %q, want %s", err, errOut.String(), want)
		}
	}
}

// TestWaitForABatchThatCannotBeListed: the time that was given counts from the start.
func TestWaitForABatchThatCannotBeListed(t *testing.T) {
	s := newStub(t)
	over := make(chan struct{})
	defer close(over)
	answer(s, api.OpExecutionList, func(api.ExecutionList) (api.Executions, error) {
		<-over
		return api.Executions{}, nil
	})
	got := s.run("", "execution", "wait", "--batch", api.NewID(), "--timeout", "50ms")
	if got.code != exitConflict || !strings.Contains(got.err, "were not all listed after 50ms") {
		t.Errorf("%+v", got)
	}
}
