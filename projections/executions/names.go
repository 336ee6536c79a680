package executions

import (
	"encoding/binary"
	"slices"
	"strings"
)

// Names are the functions and the watchers of many blocks, each once. The zero value has none.
type Names struct {
	functions nameList[[3]string]
	watchers  nameList[string]
}

// Share returns a block that says the same with the Names' lists in place of its own, as they are now; false
// if there is no place left in them. The bytes are what the lists have grown by, about.
func (t *Names) Share(b Block) (shared Block, bytes int, ok bool) {
	if len(t.functions.all)+len(b.Functions) > most || len(t.watchers.all)+len(b.Watchers) > most {
		return Block{}, 0, false
	}
	functions, watchers := make([]int, len(b.Functions)), make([]int, len(b.Watchers))
	for i, f := range b.Functions {
		var isNew bool
		if functions[i], isNew = t.functions.place(f, cloneFunction); isNew {
			bytes += nameBytes + len(f[0]) + len(f[1]) + len(f[2])
		}
	}
	for i, w := range b.Watchers {
		var isNew bool
		if watchers[i], isNew = t.watchers.place(w, strings.Clone); isNew {
			bytes += nameBytes + len(w)
		}
	}
	shared = Block{Functions: t.functions.all, Watchers: t.watchers.all, Rows: slices.Clone(b.Rows)}
	for n := range len(b.Rows) / rowBytes {
		function, watcher, _, known := b.row(n)
		if !known {
			clear(shared.Rows[n*rowBytes : (n+1)*rowBytes])
			continue
		}
		row := shared.Rows[n*rowBytes:]
		binary.LittleEndian.PutUint16(row, uint16(functions[function-1]))
		if watcher > 0 {
			binary.LittleEndian.PutUint16(row[2:], uint16(watchers[watcher-1]))
		}
	}
	return shared, bytes, true
}

// nameBytes is what a name takes beside its letters: in a list and in a map, with room to grow.
const nameBytes = 200

// nameList is a list that only grows, and where each name is in it.
type nameList[T comparable] struct {
	all    []T
	places map[T]int
}

// place returns the place of a name from 1, and whether a clone of it was added for that: the name itself may
// hold all that it was read from.
func (l *nameList[T]) place(name T, clone func(T) T) (place int, isNew bool) {
	if place, known := l.places[name]; known {
		return place, false
	}
	if l.places == nil {
		l.places = map[T]int{}
	}
	name = clone(name)
	l.all = append(l.all, name)
	l.places[name] = len(l.all)
	return len(l.all), true
}

func cloneFunction(f [3]string) [3]string {
	return [3]string{strings.Clone(f[0]), strings.Clone(f[1]), strings.Clone(f[2])}
}
