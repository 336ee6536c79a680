package executions

import "github.com/hermes-serverless/hermes/events"

// Picks picks executions out of blocks by what those know. It judges each name once, and not anew for each
// execution, nor for each of successive blocks with one list of names. It is not safe for concurrent use.
type Picks struct {
	// Each is nil where everything is picked. They must say the same of the same.
	Function func(events.FunctionRef) bool
	Watcher  func(name string) bool
	Status   func(Status) bool

	functions verdicts[[3]string]
	watchers  verdicts[string]
	statuses  []bool
}

// Places returns the places in the block, of [from, to) and counted from 0, that it does not rule out, the
// highest first.
func (p *Picks) Places(b Block, from, to int) (places []int) {
	functions := p.functions.of(b.Functions, func(f [3]string) bool {
		return p.Function == nil || p.Function(events.FunctionRef{Owner: f[0], Name: f[1], Version: f[2]})
	})
	watchers := p.watchers.of(b.Watchers, func(name string) bool { return p.Watcher == nil || p.Watcher(name) })
	none := p.Watcher == nil || p.Watcher("")
	if p.statuses == nil {
		for _, s := range rowStatuses() {
			p.statuses = append(p.statuses, p.Status == nil || p.Status(s))
		}
	}
	for n := to - 1; n >= from; n-- {
		function, watcher, status, known := b.row(n)
		picked := !known || functions[function-1] && p.statuses[status-1] && (watcher == 0 && none || watcher > 0 && watchers[watcher-1])
		if picked {
			places = append(places, n)
		}
	}
	return places
}

// verdicts are those on a list of names.
type verdicts[T any] struct {
	list []T
	all  []bool
}

// of returns a verdict on each. Lists that begin at one place in memory are one that has grown.
func (v *verdicts[T]) of(list []T, judge func(T) bool) []bool {
	if len(list) == 0 {
		return nil
	}
	if len(v.list) == 0 || &v.list[0] != &list[0] {
		v.all = v.all[:0]
	}
	v.list = list
	for _, name := range list[min(len(v.all), len(list)):] {
		v.all = append(v.all, judge(name))
	}
	return v.all
}
