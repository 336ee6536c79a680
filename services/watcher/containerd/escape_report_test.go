package containerd

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// holdsFile says, for each attack, the layers that each alone hold it, and those that it takes the loss
// of one of to get through.
const holdsFile = "testdata/escapes.txt"

// findings are what the attacks did.
type findings struct {
	full    map[string]outcomes // with all layers, by what was attacked
	open    outcomes            // with none
	without map[string]outcomes // by the one layer that is missing
	only    map[string]outcomes // by the one layer that is there, beside mountLayer
}

// attacks are the names of all, and shown those that got through where nothing holds them.
func (f findings) attacks() []string { return slices.Sorted(maps.Keys(f.open)) }

// gotThrough: nothing held the attack, or nothing but a mount namespace, without which some do not work.
func (f findings) gotThrough(name string) bool {
	return f.open.reached(name) || f.only[mountLayer].reached(name)
}

func (f findings) shown() []string {
	return slices.DeleteFunc(f.attacks(), func(name string) bool { return !f.gotThrough(name) })
}

func (f findings) contained() []string {
	return slices.DeleteFunc(f.shown(), func(name string) bool { return f.getsOut(name) })
}

func (f findings) getsOut(name string) bool {
	for _, with := range f.full {
		if with.reached(name) {
			return true
		}
	}
	return false
}

// hangsOn are the layers without which the attack gets through.
func (f findings) hangsOn(attack string) []string {
	var names []string
	for _, l := range layers() {
		if f.without[l.name].reached(attack) {
			names = append(names, l.name)
		}
	}
	return names
}

// heldBy are the layers that hold the attack when no other is there.
func (f findings) heldBy(attack string) []string {
	if !f.only[mountLayer].reached(attack) {
		return []string{mountLayer}
	}
	var names []string
	for _, l := range layers() {
		if l.name != mountLayer && !f.only[l.name].reached(attack) {
			names = append(names, l.name)
		}
	}
	return names
}

func (f findings) single() []string {
	return slices.DeleteFunc(f.shown(), func(name string) bool { return len(f.hangsOn(name)) == 0 })
}

// judge fails the test for an attack that gets out, or that has lost a layer.
func (f findings) judge(t *testing.T) {
	t.Helper()
	if *update {
		if err := os.WriteFile(holdsFile, []byte(f.holds()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(holdsFile)
	if err != nil {
		t.Fatal(err)
	}
	before := parseHolds(string(golden))
	for _, name := range f.attacks() {
		for what, with := range f.full {
			if with.reached(name) {
				t.Errorf("ESCAPE: %s in %s: %s", name, what, with[name].detail)
			}
			if _, tried := with[name]; !tried {
				t.Errorf("%s was not tried in %s", name, what)
			}
		}
		if known, ok := before[name]; ok {
			f.compare(t, name, known)
		}
	}
	for name := range before {
		if _, ok := f.open[name]; !ok {
			t.Errorf("the attack %s is gone", name)
		}
	}
}

// compare fails for a layer that was lost, or an attack that shows nothing any more. One that was won
// may be the kernel's, so it is no failure.
func (f findings) compare(t *testing.T, name string, before hold) {
	t.Helper()
	if !f.gotThrough(name) {
		if open := f.open[name]; open.word == heldWord {
			t.Errorf("%s shows nothing: it does not even get through where no layer holds it: %s", name, open.detail)
		}
		return // this kernel has nothing to attack
	}
	now := f.hold(name)
	if !contains(before.hangsOn, now.hangsOn) || !contains(now.heldBy, before.heldBy) {
		t.Errorf("%s: a layer was lost, or this machine's kernel holds less than others. It was\n%sand is\n%s"+
			"go test -run TestEscape -update writes it to %s", name, before.line(name), now.line(name), holdsFile)
	}
}

func contains(all, some []string) bool {
	return !slices.ContainsFunc(some, func(name string) bool { return !slices.Contains(all, name) })
}

// holds is the golden file.
func (f findings) holds() string {
	text := strings.Builder{}
	text.WriteString("# For each attack: the layers whose loss alone lets it through, and the layers that each hold it alone.\n")
	for _, name := range f.shown() {
		text.WriteString(f.hold(name).line(name))
	}
	return text.String()
}

// hold is what keeps an attack inside.
type hold struct{ hangsOn, heldBy []string }

func (f findings) hold(name string) hold {
	return hold{hangsOn: f.hangsOn(name), heldBy: f.heldBy(name)}
}

func (h hold) line(name string) string {
	return fmt.Sprintf("%-18s hangs on: %-24s held by: %s\n", name, list(h.hangsOn), list(h.heldBy))
}

func parseHolds(text string) map[string]hold {
	holds := map[string]hold{}
	for line := range strings.Lines(text) {
		name, rest, found := strings.Cut(line, "hangs on:")
		hangsOn, heldBy, _ := strings.Cut(rest, "held by:")
		if found {
			holds[strings.TrimSpace(name)] = hold{hangsOn: split(hangsOn), heldBy: split(heldBy)}
		}
	}
	return holds
}

func split(text string) []string {
	return slices.DeleteFunc(strings.Fields(text), func(s string) bool { return s == "-" })
}

func list(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, " ")
}

// publish says how it went.
func (f findings) publish(t *testing.T) {
	t.Helper()
	var single, unseen []string
	for _, name := range f.single() {
		single = append(single, fmt.Sprintf("%s (%s)", name, list(f.hangsOn(name))))
	}
	for _, name := range f.attacks() {
		if !f.gotThrough(name) {
			unseen = append(unseen, fmt.Sprintf("%s (%s)", name, f.open[name].detail))
		}
	}
	Report(t, fmt.Sprintf("attacks: tried %d, contained %d, stopped by one layer only %d: [%s]\nnot shown on this machine: %d: [%s]",
		len(f.shown()), len(f.contained()), len(single), strings.Join(single, ", "), len(unseen), strings.Join(unseen, ", ")))
}
