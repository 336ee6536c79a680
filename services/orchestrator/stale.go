package orchestrator

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
)

// Watchers keep sandboxes ready for functions that ran on them. They hear no function's events, which hold
// arguments and environments: the leader, who knows what it gave to whom, tells each watcher which of
// its versions were built anew or deleted. What a leader gave before its time it does not know; it lets
// everybody begin anew.

// notices counts what was said to each watcher.
type notices struct {
	mu   sync.Mutex
	sent map[string]uint64
}

// tellStale tells watchers that what they keep ready for these versions is of no use any more; without
// any, all that they keep. The number grows whether or not it can be sent: who does not hear of it notices.
func (l *leader) tellStale(watchers []string, versions ...events.FunctionRef) {
	l.notices.mu.Lock()
	defer l.notices.mu.Unlock()
	for _, w := range watchers {
		l.notices.sent[w]++
		raw, err := json.Marshal(api.Stale{Leader: l.id, Number: l.notices.sent[w], Functions: versions})
		if err == nil {
			err = l.Conn.Publish(api.StaleSubject(w), raw)
		}
		if err != nil {
			l.log.Warn("cannot tell a watcher what is of no use any more; it notices with its next hello", "watcher", w, "err", err)
		}
	}
}

// told is how many notices were sent to a watcher.
func (l *leader) told(watcher string) uint64 {
	l.notices.mu.Lock()
	defer l.notices.mu.Unlock()
	return l.notices.sent[watcher]
}

// functionChanged empties what is kept ready for versions that do not run any more what they did.
func (l *leader) functionChanged(owner, name string, record events.Record) {
	var versions []events.FunctionRef
	isCurrent := func(executions.Execution) bool { return false }
	switch change := record.Data.(type) {
	case events.FunctionBuilt:
		versions = append(versions, events.FunctionRef{Owner: owner, Name: name, Version: change.Version})
		isCurrent = func(e executions.Execution) bool { return runsBuild(e, change.Artifact, record.Time) }
	case events.FunctionDeleted:
		for _, v := range change.Versions {
			versions = append(versions, events.FunctionRef{Owner: owner, Name: name, Version: v})
		}
	default:
		return
	}
	l.mu.Lock()
	told := l.state.outdate(versions, change{isCurrent, record.Time})
	l.mu.Unlock()
	for watcher, had := range told {
		l.tellStale([]string{watcher}, had...)
	}
}

// runsBuild reports whether an execution runs what a version was built to, as it was registered then.
func runsBuild(e executions.Execution, artifact events.Blob, builtAt time.Time) bool {
	return e.Request.Source.Digest == artifact.Digest && !e.RequestedAt.Before(builtAt)
}

// change is when a version became what it is, and which executions run that.
type change struct {
	isCurrent func(executions.Execution) bool
	at        time.Time
}

// changedFor is how long a change is remembered: executions of before it may be heard of after it, since they
// are in another log.
const changedFor = time.Minute

// isOutdated reports whether an execution is of before a change that was seen a moment ago.
func (s *state) isOutdated(e executions.Execution) bool {
	c, changed := s.changed[e.Request.Function]
	return changed && e.Request.Kind == events.KindRun && !c.isCurrent(e)
}

// outdate notes that versions are not what they were: nothing is kept ready for runs of before, and their
// artifacts are no watcher's to read but while they run. It returns what each watcher was given of them.
func (s *state) outdate(versions []events.FunctionRef, c change) (told map[string][]events.FunctionRef) {
	maps.DeleteFunc(s.changed, func(_ events.FunctionRef, old change) bool { return c.at.Sub(old.at) > changedFor })
	for _, v := range versions {
		s.changed[v] = c
	}
	for _, e := range s.execs {
		if slices.Contains(versions, e.exec.Request.Function) && s.isOutdated(e.exec) {
			e.outdated = true
		}
	}
	told = map[string][]events.FunctionRef{}
	for watcher, list := range s.lately {
		s.lately[watcher] = slices.DeleteFunc(list, func(g given) bool {
			is := slices.Contains(versions, g.function)
			if is && !slices.Contains(told[watcher], g.function) {
				told[watcher] = append(told[watcher], g.function)
			}
			return is
		})
	}
	return told
}

// beginAnew has the watchers that a new leader knows throw away what they keep ready: the leaders before may
// have died over a change.
func (l *leader) beginAnew() { l.tellStale(slices.Collect(maps.Keys(l.state.nodes))) }

// compare notes what is outdated by what the functions are, by subject.
func (s *state) compare(known map[string]functions.Function) {
	version := func(ref events.FunctionRef) (functions.Version, bool) {
		v, exists := known[events.FunctionSubject(ref.Owner, ref.Name)].Versions[ref.Version]
		return v, exists
	}
	for _, e := range s.execs {
		if e.exec.Request.Kind != events.KindRun {
			continue
		}
		if v, exists := version(e.exec.Request.Function); !exists || !runsBuild(e.exec, v.Artifact, v.BuiltAt) {
			e.outdated = true
		}
	}
	for watcher, list := range s.lately {
		s.lately[watcher] = slices.DeleteFunc(list, func(g given) bool {
			v, exists := version(g.function)
			return !exists || v.Artifact.Digest != g.digest
		})
	}
}
