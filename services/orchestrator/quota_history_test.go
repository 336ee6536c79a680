package orchestrator

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/services/api"
)

var (
	quotaUsers    = []string{"ana", "bob"}
	quotaWatchers = []string{"w1", "w2"}
)

// stored is a record, and what its subject says.
type stored struct {
	events.Record
	owner, id  string
	isFunction bool
}

// quotaHistory makes a history by the decisions of the orchestrator, under quotas, as the leader and
// the services make them: it holds the leader's state and the book that the quotas are decided on.
type quotaHistory struct {
	*rapid.T
	now       time.Time
	sequence  uint64
	log       []stored
	book      *quotas.Book
	leader    *state
	functions map[string]functions.Function
	limits    map[string]quotas.Limits
	// met are the bounds that were in the way, and how often; shared by all histories.
	met map[string]int
}

func newQuotaHistory(t *rapid.T, met map[string]int) *quotaHistory {
	h := &quotaHistory{
		T: t, now: time.Date(2026, 1, 1, 22, 0, 0, 0, time.UTC), book: quotas.NewBook(), leader: newState(),
		functions: map[string]functions.Function{}, limits: map[string]quotas.Limits{}, met: met,
	}
	for _, name := range quotaWatchers {
		h.leader.nodes[name] = &node{seen: h.now, machine: events.Machine{
			Slots: 4, MemoryBytes: 20, Bases: []string{"host"}, Languages: []string{"cpp"}, GPUs: []events.GPU{{UUID: "a"}, {UUID: "b"}},
		}}
	}
	for _, user := range quotaUsers {
		h.limits[user] = h.drawLimits()
	}
	return h
}

func (h *quotaHistory) int(name string, from, to int) int {
	return rapid.IntRange(from, to).Draw(h.T, name)
}

// drawLimits bounds each figure tightly, not at all, or to nothing.
func (h *quotaHistory) drawLimits() quotas.Limits {
	bounds := [quotas.Figures][]int64{
		quotas.Concurrent: {0, 0, 1, 3}, quotas.Queued: {0, 2, 4, 8}, quotas.CPU: {0, 0, 2000, 3000}, quotas.Memory: {0, 0, 4, 9},
		quotas.GPUs: {0, 0, 1, 2, quotas.Nothing}, quotas.GPUTime: {0, 0, 30_000_000, 3_600_000_000}, quotas.Stored: {0, 0, 150, 400},
		quotas.Output: {0, 0, 60, 100}, quotas.Rate: {0},
	}
	var l quotas.Limits
	for f, some := range bounds {
		l[f] = some[h.int("limit", 0, len(some)-1)]
	}
	return l
}

func (h *quotaHistory) user() string { return quotaUsers[h.int("user", 0, len(quotaUsers)-1)] }

// store appends what was decided, as the log would, and has everybody follow it.
func (h *quotaHistory) store(subject string, data events.Data) events.Record {
	h.sequence++
	r := events.Record{
		Event: events.Event{ID: fmt.Sprint(h.sequence), Source: "test", Time: h.now, Data: data}, Subject: subject, Sequence: h.sequence,
	}
	owner, id, err := events.ParseExecutionSubject(subject)
	isFunction := err != nil
	if isFunction {
		if owner, _, err = events.ParseFunctionSubject(subject); err != nil {
			h.Fatal(err)
		}
	}
	h.log = append(h.log, stored{Record: r, owner: owner, id: id, isFunction: isFunction})
	if err := h.follow(r); err != nil {
		h.Fatalf("%s does not follow: %v", data.Type(), err)
	}
	return r
}

func (h *quotaHistory) follow(r events.Record) error {
	if owner, name, err := events.ParseFunctionSubject(r.Subject); err == nil {
		f, err := functions.Fold(h.functions[owner+"/"+name], r)
		if err != nil {
			return err
		}
		h.functions[owner+"/"+name] = f
		return h.book.Function(r)
	}
	if _, err := h.leader.follow(r); err != nil {
		return err
	}
	return h.book.Execution(r)
}

func (h *quotaHistory) room(user string) Room {
	used := h.book.Use(user, h.now)
	r := Room{Limits: h.limits[user]}
	r.Used[quotas.GPUTime], r.Used[quotas.Output] = used[quotas.GPUTime], used[quotas.Output]
	return r
}

// blob is one of a few contents, so that some are named more than once.
func (h *quotaHistory) blob() events.Blob {
	n := h.int("blob", 0, 5)
	return events.Blob{Digest: fmt.Sprint("sha256:", n), SizeBytes: int64(10 + 30*n)}
}

func (h *quotaHistory) request() {
	user := h.user()
	r := events.ExecutionRequested{
		Kind: events.KindRun, Function: events.FunctionRef{Owner: user, Name: "pi", Version: "1.0.0"}, Base: "host", Language: "cpp",
		Limits: events.Limits{CPUMillis: 1000 * int64(h.int("cpus", 1, 3)), MemoryBytes: int64(h.int("memory", 1, 6))},
		GPUs:   max(0, h.int("gpus", -2, 2)), Retries: h.int("retries", 0, 1),
	}
	if h.int("input", 0, 2) == 0 {
		blob := h.blob()
		r.Input.Blob = &blob
	}
	h.accept(user, fmt.Sprintf("%026d", h.sequence), r)
}

// accept decides on a request, and stores it unless the quota refuses.
func (h *quotaHistory) accept(user, id string, r events.ExecutionRequested) bool {
	limits, before := h.limits[user], h.book.Use(user, h.now)
	asked := quotas.Ask(r)
	asked[quotas.Stored] = h.book.New(user, quotas.Blobs(r))
	over := quotas.Refuse(limits, before, asked)
	if over != nil {
		h.met["refused by "+over.Figure.String()]++
		if sum := before[over.Figure] + asked[over.Figure]; sum < over.Limit {
			h.Fatalf("refused by %s although %d of %d would be used", over.Figure, sum, over.Limit)
		}
		return false
	}
	data, err := acceptOnce(executions.Execution{}, r)
	if err != nil {
		h.Fatal(err)
	}
	h.store(events.ExecutionSubject(user, id), data)
	after := h.recount(user)
	for _, f := range []quotas.Figure{quotas.Queued, quotas.Stored} {
		if most, bounded := limits.Most(f); bounded && asked[f] > 0 && after[f] > most {
			h.Fatalf("a request was accepted, and %s uses %d of %d %s", user, after[f], most, f)
		}
	}
	for _, f := range []quotas.Figure{quotas.GPUTime, quotas.Output} {
		if most, bounded := limits.Most(f); bounded && (r.GPUs > 0 || f == quotas.Output) && after[f] >= most {
			h.Fatalf("a request was accepted when %d of %d %s were used up", after[f], most, f)
		}
	}
	return true
}

// plan places what has room, and checks that no placement is over its user's quota.
func (h *quotaHistory) plan() {
	queues, nodes := h.leader.planInput(h.now, func(*node) bool { return true }, h.room)
	used := map[string]quotas.Amounts{}
	for _, user := range quotaUsers {
		used[user] = h.recount(user) // with what is placed and has not started
		for _, e := range h.leader.execs {
			if e.exec.Owner == user && e.placed != "" {
				used[user] = used[user].Add(e.need().asked())
			}
		}
	}
	for _, p := range Place(queues, nodes) {
		k := key{owner: p.User, id: p.ID}
		asked := h.leader.execs[k].need().asked()
		used[p.User] = used[p.User].Add(asked)
		for f := range asked {
			most, bounded := h.limits[p.User].Most(quotas.Figure(f))
			if bounded && asked[f] > 0 && used[p.User][f] > most {
				h.Fatalf("%s was given a place, and uses %d of %d %s", p.User, used[p.User][f], most, quotas.Figure(f))
			}
		}
		h.leader.place(k, put{p.Watcher, p.Devices}, h.now)
	}
	for k := range h.leader.execs {
		if over := h.leader.waitsFor(k, h.room(k.owner)); over != nil {
			h.met["waited for "+over.Figure.String()]++
		}
	}
}

// pick is one of the live executions that the predicate likes, the same one for the same history.
func (h *quotaHistory) pick(likes func(*entry) bool) *entry {
	var some []*entry
	for _, e := range h.leader.execs {
		if likes(e) {
			some = append(some, e)
		}
	}
	if len(some) == 0 {
		return nil
	}
	slices.SortFunc(some, func(a, b *entry) int { return a.ticket().compare(b.ticket()) })
	return some[h.int("which", 0, len(some)-1)]
}

func (h *quotaHistory) storeOf(e *entry, data events.Data) {
	if data != nil {
		h.store(events.ExecutionSubject(e.exec.Owner, e.exec.ID), data)
	}
}

func (h *quotaHistory) claim() {
	if e := h.pick(func(e *entry) bool { return e.placed != "" }); e != nil {
		watcher := quotaWatchers[h.int("claims", 0, 1)]
		ref := api.AttemptRef{Owner: e.exec.Owner, ID: e.exec.ID, Attempt: e.exec.Attempt + 1}
		data, _ := decideClaim(e.exec, put{e.placed, e.devices}, events.Hardware{}, watcher, api.Claim{AttemptRef: ref, Devices: e.devices})
		h.storeOf(e, data)
	}
}

func (h *quotaHistory) report() {
	e := h.pick(func(e *entry) bool { return e.holder() != "" })
	if e == nil {
		return
	}
	running := e.exec.Status == executions.Running
	ref := api.AttemptRef{Owner: e.exec.Owner, ID: e.exec.ID, Attempt: e.exec.Attempt}
	if !running {
		ref.Attempt++
	}
	outcomes := []api.Outcome{api.Succeeded, api.Failed, api.TimedOut, api.Cancelled}
	data, _ := decideReport(e.exec, put{e.placed, e.devices}, e.holder(), api.Report{
		AttemptRef: ref, Started: running, Outcome: outcomes[h.int("outcome", 0, 3)], Reason: events.ReasonExit,
		Output: events.Output{StdoutBytes: int64(h.int("stdout", 0, 90)), StderrBytes: 1},
	})
	h.storeOf(e, data)
}

func (h *quotaHistory) lose() {
	if e := h.pick(func(e *entry) bool { return e.exec.Status == executions.Running }); e != nil {
		h.storeOf(e, decideLost(e.exec, e.exec.Watcher, "silent"))
	}
}

// takeBack unplaces, as when a watcher leaves.
func (h *quotaHistory) takeBack() {
	if e := h.pick(func(e *entry) bool { return e.placed != "" }); e != nil {
		h.leader.unplace(e.key(), e.placed)
	}
}

func (h *quotaHistory) cancel() {
	e := h.pick(func(*entry) bool { return true })
	if e == nil {
		return
	}
	data, err := decideCancel(e.exec, e.exec.Owner)
	if err != nil {
		h.Fatal(err)
	}
	h.storeOf(e, data)
	h.storeOf(e, decideQueuedCancel(e.exec))
}

func (h *quotaHistory) giveUp() {
	if e := h.pick(func(e *entry) bool { return e.waiting() }); e != nil {
		h.storeOf(e, decideUnplaceable(e.exec, "no machine"))
	}
}

func (h *quotaHistory) deploy() {
	user, version := h.user(), fmt.Sprintf("%d.0.0", h.int("version", 1, 3))
	f := h.functions[user+"/pi"]
	if _, pending := f.Pending[version]; pending {
		return
	}
	_, exists := f.Versions[version]
	build := fmt.Sprintf("%026d", h.sequence)
	bundle := h.blob()
	if h.accept(user, build, events.ExecutionRequested{
		Kind: events.KindBuild, Function: events.FunctionRef{Owner: user, Name: "pi", Version: version}, Source: bundle, Base: "host", Language: "cpp",
		Limits: quotas.Within(h.limits[user], events.Limits{CPUMillis: 2000, MemoryBytes: 5}),
	}) {
		h.store(events.FunctionSubject(user, "pi"), events.FunctionRegistered{Version: version, Bundle: bundle, Base: "host", Build: build, Replaces: exists})
	}
}

func (h *quotaHistory) build() {
	user := h.user()
	f := h.functions[user+"/pi"]
	if len(f.Pending) == 0 {
		return
	}
	version := slices.Min(slices.Collect(maps.Keys(f.Pending)))
	var end events.Data = events.FunctionBuildFailed{Version: version, Build: f.Pending[version].Build, Reason: events.ReasonMake}
	if h.int("built", 0, 1) == 1 {
		end = events.FunctionBuilt{Version: version, Build: f.Pending[version].Build, Artifact: h.blob()}
	}
	h.store(events.FunctionSubject(user, "pi"), end)
}

func (h *quotaHistory) remove(user string) {
	f := h.functions[user+"/pi"]
	gone := map[string]bool{}
	for version := range f.Versions {
		gone[version] = true
	}
	for version := range f.Pending {
		gone[version] = true
	}
	for version := range f.Failed {
		gone[version] = true
	}
	if len(gone) > 0 {
		h.store(events.FunctionSubject(user, "pi"), events.FunctionDeleted{Versions: slices.Sorted(maps.Keys(gone))})
	}
}

// again has everybody hear of something that they have heard of.
func (h *quotaHistory) again() {
	if len(h.log) == 0 {
		return
	}
	r := h.log[h.int("again", 0, len(h.log)-1)]
	if r.isFunction {
		_ = h.book.Function(r.Record)
		return
	}
	_, _ = h.leader.follow(r.Record)
	if err := h.book.Execution(r.Record); err != nil {
		h.Fatalf("a duplicate is no error: %v", err)
	}
}

func (h *quotaHistory) pass() {
	times := []time.Duration{time.Second, 10 * time.Second, 10 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 50 * time.Minute, 5 * time.Hour, 24 * time.Hour, 60 * time.Hour}
	h.now = h.now.Add(times[h.int("time", 0, len(times)-1)])
}

// endAll lets everything end.
func (h *quotaHistory) endAll() {
	for len(h.leader.execs) > 0 {
		e := h.pick(func(*entry) bool { return true })
		if e.exec.Status == executions.Running {
			h.storeOf(e, decideLost(e.exec, e.exec.Watcher, "silent"))
			continue
		}
		h.storeOf(e, decideUnplaceable(e.exec, "no machine"))
	}
	for _, user := range quotaUsers {
		h.remove(user)
	}
}
