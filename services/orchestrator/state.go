package orchestrator

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/fleet"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/services/api"
)

// windowPerUser bounds how many of a user's waiting executions one plan looks at.
const windowPerUser = 64

// key names an execution: users make the ids, so two may use the same one.
type key struct{ owner, id string }

// entry is a live execution and where it was put.
type entry struct {
	exec executions.Execution
	// placed is the watcher whose run request is out, until it claims or loses it.
	placed   string
	placedAt time.Time
	// devices are the GPUs that it was given there.
	devices []string
	// doing is what that watcher says it does before it can claim.
	doing string
	// outdated: its version was built anew or deleted since it was asked for.
	outdated bool
}

func (e *entry) key() key { return key{owner: e.exec.Owner, id: e.exec.ID} }

func (e *entry) waiting() bool {
	return e.exec.Status == executions.Queued && e.placed == "" && e.exec.CancelRequestedBy == ""
}

// holder is the watcher whose slot it takes, "" while it waits.
func (e *entry) holder() string {
	switch {
	case e.exec.Status == executions.Running:
		return e.exec.Watcher
	case e.exec.Status == executions.Queued:
		return e.placed
	}
	return ""
}

// request is what the watcher that it is placed on is told.
func (e *entry) request() api.RunRequest {
	return api.RunRequest{
		AttemptRef: api.AttemptRef{Owner: e.exec.Owner, ID: e.exec.ID, Attempt: e.exec.Attempt + 1},
		Request:    e.exec.Request,
		Devices:    e.devices,
		Outdated:   e.outdated,
	}
}

func (e *entry) need() Need {
	r := e.exec.Request
	return Need{
		ID: e.exec.ID, RequestedAt: e.exec.RequestedAt, User: e.exec.Owner, Kind: r.Kind, Base: r.Base, Language: r.Language,
		MemoryBytes: r.Limits.MemoryBytes, CPUMillis: r.Limits.CPUMillis, GPUs: r.GPUs, GPU: r.GPU, Network: r.Network != "",
		TimeoutMillis: r.Limits.TimeoutMillis,
	}
}

// ticket is a place in the queue: by the time at which the server accepted the request. The id is
// the client's, and its clock may be wrong.
type ticket struct {
	at time.Time
	id string
}

func (t ticket) compare(other ticket) int {
	return cmp.Or(t.at.Compare(other.at), strings.Compare(t.id, other.id))
}

func (e *entry) ticket() ticket { return ticket{at: e.exec.RequestedAt, id: e.exec.ID} }

// node is a watcher as the leader knows it.
type node struct {
	machine events.Machine
	session string
	// hello is the number of the session's last hello that was heard.
	hello uint64
	// seen is when it last renewed its lease; zero when it is not heard of.
	seen     time.Time
	draining bool
	// readings are those of its last lease.
	readings []api.GPUReading
}

// state is what the leader knows: the fold of the live part of the log, and the placements. It has
// no lock, no clock and no I/O of its own.
type state struct {
	execs map[key]*entry
	// queues hold the waiting executions of each user, first come first. What no longer waits is
	// dropped when it is met.
	queues map[string][]ticket
	held   map[key]*entry
	nodes  map[string]*node
	// machines are those of every watcher that was ever known, by name: one that is away may come
	// back, so what only it can run waits.
	machines map[string]events.Machine
	// cordons are what the operator has taken out of placement, by watcher.
	cordons map[string][]fleet.Cordon
	// asked is when each user asked for an execution last, as far as that is of use.
	asked map[string]time.Time
	// architectures are those that images are for, by digest.
	architectures map[string]string
	// lately is what was given to each watcher for its last runs, the latest last, and of what runs now.
	lately map[string][]given
	// changed are the versions that were built anew or deleted a moment ago.
	changed map[events.FunctionRef]change
	// times are how long executions took that have been seen to end.
	times runTimes
	// followed is the last sequence of the log that has been followed; later ones may have been
	// applied too, by those who appended them.
	followed uint64
}

func newState() *state {
	return &state{
		execs: map[key]*entry{}, queues: map[string][]ticket{}, held: map[key]*entry{}, nodes: map[string]*node{},
		machines: map[string]events.Machine{}, asked: map[string]time.Time{}, cordons: map[string][]fleet.Cordon{},
		architectures: map[string]string{}, lately: map[string][]given{}, changed: map[events.FunctionRef]change{}, times: runTimes{},
	}
}

// load puts in an execution as a view or a fold had it, unless what is known is newer. What is not
// known although the log has been followed past it has ended since.
func (s *state) load(exec executions.Execution) *entry {
	k := key{owner: exec.Owner, id: exec.ID}
	e := s.execs[k]
	if e == nil {
		if exec.Status == "" || exec.Sequence <= s.followed {
			return &entry{exec: exec}
		}
		e = &entry{outdated: s.isOutdated(exec)}
		s.execs[k] = e
	} else if e.exec.Sequence >= exec.Sequence {
		return e
	}
	e.exec = exec
	if exec.RequestedAt.After(s.asked[exec.Owner]) {
		s.asked[exec.Owner] = exec.RequestedAt
	}
	s.index(e)
	return e
}

// share has every user of a queue leave a slot to the others, if any of them asked for something since then.
func (s *state) share(queues []Queue, since time.Time) {
	maps.DeleteFunc(s.asked, func(_ string, at time.Time) bool { return at.Before(since) })
	for i, q := range queues {
		others := len(s.asked)
		if _, too := s.asked[q.User]; too {
			others--
		}
		queues[i].Spare = min(others, 1)
	}
}

// apply folds a record that follows what is known; older ones change nothing.
func (s *state) apply(r events.Record) (*entry, error) {
	owner, id, err := events.ParseExecutionSubject(r.Subject)
	if err != nil {
		return nil, err
	}
	known := executions.Execution{}
	if e := s.execs[key{owner: owner, id: id}]; e != nil {
		if e.exec.Sequence >= r.Sequence {
			return e, nil
		}
		known = e.exec
	} else if r.Sequence <= s.followed {
		return nil, nil
	}
	next, err := executions.Fold(known, r)
	if err != nil {
		return nil, err
	}
	return s.load(next), nil
}

// follow is apply for the records of the log in their order; what has ended is forgotten when
// the log has been followed up to its end.
func (s *state) follow(r events.Record) (*entry, error) {
	if _, forgotten := r.Data.(events.ExecutionsForgotten); forgotten {
		s.forget(events.OwnerOf(r.Subject))
		s.followed = max(s.followed, r.Sequence)
		return nil, nil
	}
	e, err := s.apply(r)
	s.followed = max(s.followed, r.Sequence)
	if e != nil && e.exec.Status.Final() && e.exec.Sequence == r.Sequence {
		s.times.add(e.exec)
	}
	if e != nil && e.exec.Status.Final() && e.exec.Sequence <= s.followed {
		delete(s.execs, e.key())
	}
	return e, err
}

// forget drops all that an owner has: what is known of it may have ended in events that are not kept.
func (s *state) forget(owner string) {
	of := func(k key, _ *entry) bool { return k.owner == owner }
	maps.DeleteFunc(s.execs, of)
	maps.DeleteFunc(s.held, of)
	delete(s.queues, owner)
	delete(s.asked, owner)
}

// index keeps queues and held true after an entry changed.
func (s *state) index(e *entry) {
	if e.exec.Status != executions.Queued {
		e.placed, e.devices = "", nil
	}
	if e.holder() != "" {
		s.held[e.key()] = e
		s.remember(e)
		return
	}
	delete(s.held, e.key())
	if e.waiting() {
		s.enqueue(e)
	}
}

// enqueue keeps a user's queue in order: an execution that lost its place goes back to where it was.
func (s *state) enqueue(e *entry) {
	q := s.queues[e.exec.Owner]
	if at, there := slices.BinarySearchFunc(q, e.ticket(), ticket.compare); !there {
		s.queues[e.exec.Owner] = slices.Insert(q, at, e.ticket())
	}
}

// architectureOf is what a base is for; empty when it is not known.
func (s *state) architectureOf(base string) string {
	ref, err := events.ParseBaseRef(base)
	if err != nil {
		return ""
	}
	return s.architectures[ref.Digest]
}

// place notes that a run request goes to a watcher, with the GPUs that it gets there.
func (s *state) place(k key, on put, now time.Time) {
	if e := s.execs[k]; e != nil && e.waiting() {
		e.placed, e.devices, e.placedAt, e.doing = on.watcher, on.devices, now, ""
		s.index(e)
	}
}

// prepares notes what a watcher does for an execution that is placed on it, and that it still will
// claim it.
func (s *state) prepares(k key, watcher, doing string, now time.Time) {
	if e := s.execs[k]; e != nil && e.placed == watcher {
		e.placedAt, e.doing = now, doing
	}
}

// doing is what the watcher that an execution is placed on does for it; empty if it says nothing.
func (s *state) doing(k key) string {
	if e := s.execs[k]; e != nil && e.placed != "" {
		return e.doing
	}
	return ""
}

// unplace takes a placement back; the execution waits again.
func (s *state) unplace(k key, watcher string) {
	if e := s.execs[k]; e != nil && e.placed == watcher {
		e.placed, e.devices = "", nil
		s.index(e)
	}
}

// put is where an execution was placed: a watcher, and GPUs of it.
type put struct {
	watcher string
	devices []string
}

// placedOn is the watcher that holds the run request of an execution, and what was given to it there.
func (s *state) placedOn(k key) put {
	if e := s.execs[k]; e != nil {
		return put{e.placed, e.devices}
	}
	return put{}
}

// heldBy lists what takes a slot of the watcher.
func (s *state) heldBy(watcher string) []*entry {
	var all []*entry
	for _, e := range s.held {
		if e.holder() == watcher {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *entry) int { return a.ticket().compare(b.ticket()) })
	return all
}

// planInput is the state as Place and Unplaceable take it. room is what a user's quota leaves, but for
// what is in use, which only the state knows.
func (s *state) planInput(now time.Time, alive func(*node) bool, room func(user string) Room) ([]Queue, []Node) {
	nodes := map[string]*Node{}
	for name, n := range s.nodes {
		if n.seen.IsZero() {
			continue
		}
		nodes[name] = &Node{Name: name, Machine: s.offered(name, n.machine), Accepting: !n.draining && !s.isCordoned(name) && alive(n)}
	}
	running, used := map[string]int{}, map[string]quotas.Amounts{}
	for _, e := range s.held {
		running[e.exec.Owner]++
		used[e.exec.Owner] = used[e.exec.Owner].Add(e.need().asked())
		if n := nodes[e.holder()]; n != nil {
			n.UsedSlots++
			n.UsedMemoryBytes += e.exec.Request.Limits.MemoryBytes
			n.Holds = append(n.Holds, s.hold(e, now))
		}
	}
	var queues []Queue
	for user := range s.queues {
		r := room(user)
		r.Used = r.Used.Add(used[user])
		if waiting := s.waitingOf(user, windowPerUser, r); len(waiting) > 0 {
			queues = append(queues, Queue{User: user, Running: running[user], Room: r, Waiting: waiting})
		}
	}
	slices.SortFunc(queues, func(a, b Queue) int { return strings.Compare(a.User, b.User) })
	list := make([]Node, 0, len(nodes))
	for _, n := range nodes {
		list = append(list, *n)
	}
	return queues, list
}

// fleet is every machine that was ever known, as Unplaceable takes it.
func (s *state) fleet() []Node {
	all := make([]Node, 0, len(s.machines))
	for _, name := range slices.Sorted(maps.Keys(s.machines)) {
		all = append(all, Node{Name: name, Machine: s.machines[name]})
	}
	return all
}

// waitingOf is the head of a user's queue, without those that the quota has passed over. It drops
// what no longer waits from as much of the queue as it looks at.
func (s *state) waitingOf(user string, most int, room Room) []Need {
	q := s.queues[user]
	needs := make([]Need, 0, min(most, len(q)))
	waiting := make([]ticket, 0, cap(needs)) // of those that were looked at
	looked := 0
	for ; looked < len(q) && len(needs) < most; looked++ {
		e := s.execs[key{owner: user, id: q[looked].id}]
		if e == nil || !e.waiting() {
			continue
		}
		waiting = append(waiting, q[looked])
		if need := s.need(e); !room.passes(need) {
			need.Architecture = s.architectureOf(need.Base)
			needs = append(needs, need)
		}
	}
	q = q[looked-len(waiting):]
	copy(q, waiting)
	if s.queues[user] = q; len(q) == 0 {
		delete(s.queues, user)
	}
	return needs
}

// position is how many waiting executions were asked for before this one, and it: from 1; 0 if
// it does not wait. It is a hint: users share fairly, so a place may come sooner or later.
func (s *state) position(k key) int {
	e := s.execs[k]
	if e == nil || !e.waiting() {
		return 0
	}
	n, own := 1, e.ticket()
	for user, q := range s.queues {
		before, _ := slices.BinarySearchFunc(q, own, ticket.compare)
		for _, other := range q[:before] {
			if o := s.execs[key{owner: user, id: other.id}]; o != nil && o.waiting() {
				n++
			}
		}
	}
	return n
}
