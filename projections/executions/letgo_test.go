package executions_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/foldtest"
)

// past is a log, its archive and three folds of them.
type past struct {
	*rapid.T
	log     []events.Record
	archive []projections.Archived
	// kept never lets go, soon applies what is archived at once.
	kept, soon foldtest.Tx
	live       []executions.Execution
	ids        int
	sequence   uint64
	// archived is the last archive sequence, last what it has of each owner.
	archived uint64
	last     map[string]int64
}

var owners = []string{"alice", "bob"}

func newPast(t *rapid.T) *past {
	return &past{T: t, kept: foldtest.Tx{}, soon: foldtest.Tx{}, last: map[string]int64{}}
}

// happen lets something happen to an execution, maybe a new one.
func (p *past) happen() {
	i := rapid.IntRange(0, 4).Draw(p.T, "which")
	if i >= len(p.live) {
		p.ids++
		p.live = append(p.live, executions.Execution{ID: fmt.Sprintf("01JDY3M8WZ%016d", p.ids), Owner: rapid.SampledFrom(owners).Draw(p.T, "owner")})
		i = len(p.live) - 1
	}
	p.sequence++
	r := foldtest.Record(events.ExecutionSubject(p.live[i].Owner, p.live[i].ID), p.sequence, next(p.T, p.live[i]))
	e, err := executions.Fold(p.live[i], r)
	if err != nil {
		p.Fatal(err)
	}
	if p.live[i] = e; e.Status.Final() {
		p.live = slices.Delete(p.live, i, i+1)
	}
	p.log = append(p.log, r)
	for _, tx := range []foldtest.Tx{p.kept, p.soon} {
		if err := executions.Projection.Step(tx, r, nil); err != nil {
			p.Fatal(err)
		}
	}
}

// put puts some of an owner's executions into the archive, as many as may.
func (p *past) put() {
	owner := rapid.SampledFrom(owners).Draw(p.T, "archived owner")
	for range rapid.IntRange(1, 5).Draw(p.T, "archived") {
		e, _ := p.kept[executions.ViewKey(owner, p.last[owner]+1)].(executions.Execution)
		if !e.Status.Final() {
			return
		}
		p.last[owner]++
		p.append(events.ArchiveSubject(owner, e.RequestedAt), e.Sequence, e)
	}
}

// leave lets an owner go away whose archive is purged.
func (p *past) leave() {
	owner := rapid.SampledFrom(owners).Draw(p.T, "gone owner")
	if p.last[owner] == 0 {
		return
	}
	p.append(events.ArchiveGoneSubject(owner), p.sequence, executions.Gone{Last: p.last[owner]})
	p.archive = slices.DeleteFunc(p.archive, func(a projections.Archived) bool {
		of, month, err := events.ParseArchiveSubject(a.Subject)
		return err != nil || of == owner && month != events.ArchiveGone
	})
}

func (p *past) append(subject string, at uint64, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		p.Fatal(err)
	}
	p.archived += uint64(rapid.IntRange(1, 2).Draw(p.T, "archive gap"))
	a := projections.Archived{Subject: subject, Sequence: p.archived, At: at, Data: raw}
	p.archive = append(p.archive, a)
	p.apply(p.soon, a)
}

func (p *past) apply(tx foldtest.Tx, a projections.Archived) {
	for more := true; more; {
		var err error
		if more, err = executions.Projection.StepArchived(tx, a); err != nil {
			p.Fatal(err)
		}
	}
}

// early folds the log and applies the archive as soon as the log has come to it, late at the end.
func (p *past) early() foldtest.Tx {
	tx, left := foldtest.Tx{}, p.archive
	for _, r := range p.log {
		if err := executions.Projection.Step(tx, r, nil); err != nil {
			p.Fatal(err)
		}
		for len(left) > 0 && left[0].At <= r.Sequence {
			p.apply(tx, left[0])
			left = left[1:]
		}
	}
	return tx
}

func (p *past) late() foldtest.Tx {
	tx := maps.Clone(p.kept)
	for _, a := range p.archive {
		p.apply(tx, a)
	}
	return tx
}

// TestLettingGo: whatever happens and whenever it is archived, what a fold has let go is what the archive has,
// and nothing else is missing; and it does not matter when the archive is applied, nor, when an owner has
// left, whether what was purged of it was ever seen.
func TestLettingGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPast(t)
		steps := rapid.SliceOfN(rapid.SampledFrom([]func(){p.happen, p.happen, p.happen, p.happen, p.happen, p.put, p.put}), 1, 120).Draw(t, "steps")
		for _, step := range steps {
			step()
		}
		p.wantNothingLost()
		p.wantSame()
		if rapid.Bool().Draw(t, "leaves") {
			p.leave()
			for range rapid.IntRange(0, 30).Draw(t, "more") {
				p.happen()
			}
			p.put()
			p.wantSame()
		}
	})
}

func (p *past) wantSame() {
	for name, tx := range map[string]foldtest.Tx{"early": p.early(), "late": p.late()} {
		if !reflect.DeepEqual(tx, p.soon) {
			p.Fatalf("applied %s\n%v\nwant\n%v", name, tx, p.soon)
		}
	}
}

func (p *past) wantNothingLost() {
	at := map[uint64]executions.Execution{}
	for _, a := range p.archive {
		var e executions.Execution
		if err := json.Unmarshal(a.Data, &e); err != nil {
			p.Fatal(err)
		}
		at[a.Sequence] = e
	}
	for key, want := range p.kept {
		kind, rest, _ := strings.Cut(key, ".")
		owner, end, _ := strings.Cut(rest, ".")
		user, _ := p.soon[executions.UserKey(owner)].(executions.User)
		number := p.kept[key]
		if kind == "view" {
			number = projections.Text(end)
		}
		switch kind {
		case "user":
			if want := want.(executions.User); user.Last != want.Last || user.LetGo != p.last[owner] {
				p.Fatalf("%s holds %+v, want the last %d, let go up to %d", key, user, want.Last, p.last[owner])
			}
			continue
		case "view", "id":
			var n int64
			if _, err := fmt.Sscan(string(number.(projections.Text)), &n); err != nil {
				p.Fatal(err)
			}
			if n > user.LetGo {
				break
			}
			e := p.kept[executions.ViewKey(owner, n)].(executions.Execution)
			drawer := p.soon[executions.DrawerKey(owner, n)].(executions.Drawer)
			if got := at[drawer.Sequence(int(n-1))]; !reflect.DeepEqual(got, e) {
				p.Fatalf("%s is found as %+v, want %+v", key, got, e)
			}
			drawers := p.soon[executions.DrawersKey(owner)].(executions.Drawers)
			if !slices.Contains(drawer.Find(e.ID), int(n-1)) || !slices.Equal(drawers.May(e.ID), []int64{1}) {
				p.Fatalf("%s is not found by its id: %v, %v", key, drawer.Find(e.ID), drawers)
			}
			if there := p.soon[key]; there != nil {
				p.Fatalf("%s was not let go: %v", key, there)
			}
			continue
		}
		if !reflect.DeepEqual(p.soon[key], want) {
			p.Fatalf("%s holds %v, want %v", key, p.soon[key], want)
		}
	}
}

// TestWhatIsNotEqualStays: of a message that is not what the log says nothing follows.
func TestWhatIsNotEqualStays(t *testing.T) {
	tx := foldtest.Tx{}
	ended := func(number uint64) {
		subject := events.ExecutionSubject("alice", fmt.Sprintf("01JDY3M8WZ%016d", number))
		for i, d := range []events.Data{events.ExecutionRequested{}, events.ExecutionFailed{Reason: events.ReasonInput}} {
			if err := executions.Projection.Step(tx, foldtest.Record(subject, 2*number+uint64(i), d), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	ended(1)
	ended(2)
	right := tx[executions.ViewKey("alice", 1)].(executions.Execution)
	change := func(f func(*executions.Execution)) any {
		e := right
		f(&e)
		return e
	}
	subject := events.ArchiveSubject("alice", right.RequestedAt)
	for name, c := range map[string]struct {
		subject string
		value   any
	}{
		"another end":        {subject, change(func(e *executions.Execution) { e.ExitCode = 7 })},
		"the second":         {subject, tx[executions.ViewKey("alice", 2)]},
		"one that is not":    {subject, change(func(e *executions.Execution) { e.Number = 9 })},
		"one that lives":     {subject, change(func(e *executions.Execution) { e.Status = executions.Running })},
		"somebody else's":    {subject, change(func(e *executions.Execution) { e.Owner = "bob" })},
		"no execution":       {subject, "what"},
		"gone, more than is": {events.ArchiveGoneSubject("alice"), executions.Gone{Last: 3}},
		"no subject":         {"hermes.archive.alice.never", right},
	} {
		raw, err := json.Marshal(c.value)
		if err != nil {
			t.Fatal(err)
		}
		now := maps.Clone(tx)
		more, err := executions.Projection.StepArchived(now, projections.Archived{Subject: c.subject, Sequence: 5, Data: raw})
		if more || !projections.IsMismatch(err) {
			t.Errorf("%s: %t, %v, want a mismatch", name, more, err)
		}
		if now[projections.KeyArchived] == nil {
			t.Errorf("%s stops the archive", name)
		}
		if delete(now, projections.KeyArchived); !reflect.DeepEqual(now, tx) {
			t.Errorf("%s changed what is kept to %v", name, now)
		}
	}
	raw, err := json.Marshal(right)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // delivered twice
		if _, err := executions.Projection.StepArchived(tx, projections.Archived{Subject: subject, Sequence: 6, Data: raw}); err != nil {
			t.Fatal(err)
		}
	}
	if tx[executions.ViewKey("alice", 1)] != nil || tx[executions.ViewKey("alice", 2)] == nil {
		t.Errorf("after the right one there is %v", tx)
	}
}

// TestManyGoInParts: who leaves may have had very many executions.
func TestManyGoInParts(t *testing.T) {
	tx := foldtest.Tx{}
	const many = executions.DrawerSize + 10
	for n := uint64(1); n <= many; n++ {
		subject := events.ExecutionSubject("alice", fmt.Sprintf("01JDY3M8WZ%016d", n))
		for i, d := range []events.Data{events.ExecutionRequested{}, events.ExecutionFailed{Reason: events.ReasonInput}} {
			if err := executions.Projection.Step(tx, foldtest.Record(subject, 2*n+uint64(i), d), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	parts := 0
	for more := true; more; parts++ {
		before := maps.Clone(tx)
		var err error
		if more, err = executions.Projection.StepArchived(tx, projections.Archived{
			Subject: events.ArchiveGoneSubject("alice"), Sequence: 1, Data: []byte(fmt.Sprintf(`{"last":%d}`, many)),
		}); err != nil {
			t.Fatal(err)
		}
		if n := len(before) - len(tx); n > projections.MaxLetGo {
			t.Fatalf("%d keys went at once", n)
		}
	}
	if parts < many*2/projections.MaxLetGo {
		t.Errorf("gone in %d parts", parts)
	}
	// The user, the mark, the drawers, which have nothing, and the block that is not full.
	if drawers := tx[executions.DrawersKey("alice")].(executions.Drawers); len(tx) != 4 || len(drawers.IDs) != 2 || drawers.IDs[0] != [2]string{} {
		t.Errorf("left are %v", slices.Sorted(maps.Keys(tx)))
	}
}

// TestDrawersOfMany: an id is looked for only where it may be, and what is found is where it was put.
func TestDrawersOfMany(t *testing.T) {
	tx := foldtest.Tx{}
	const many = executions.DrawerSize + 10
	idOf := func(n uint64) string { return fmt.Sprintf("01JDY3M8WZ%016d", n) }
	for n := uint64(1); n <= many; n++ {
		for i, d := range []events.Data{events.ExecutionRequested{}, events.ExecutionFailed{Reason: events.ReasonInput}} {
			if err := executions.Projection.Step(tx, foldtest.Record(events.ExecutionSubject("alice", idOf(n)), 2*n+uint64(i), d), nil); err != nil {
				t.Fatal(err)
			}
		}
		e := tx[executions.ViewKey("alice", int64(n))].(executions.Execution)
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		a := projections.Archived{Subject: events.ArchiveSubject("alice", e.RequestedAt), Sequence: n + n/100, Data: raw} // others lie between
		if _, err := executions.Projection.StepArchived(tx, a); err != nil {
			t.Fatal(err)
		}
	}
	drawers := tx[executions.DrawersKey("alice")].(executions.Drawers)
	for n, first := range map[uint64]int64{1: 1, 100: 1, executions.DrawerSize: 1, executions.DrawerSize + 1: executions.DrawerSize + 1, many: executions.DrawerSize + 1} {
		if got := drawers.May(idOf(n)); !slices.Equal(got, []int64{first}) {
			t.Errorf("id %d may be in the drawers from %v, want %d", n, got, first)
		}
		drawer := tx[executions.DrawerKey("alice", int64(n))].(executions.Drawer)
		at := int(int64(n) - first)
		if got := drawer.Sequence(at); got != n+n/100 || !slices.Contains(drawer.Find(idOf(n)), at) {
			t.Errorf("number %d is at %d, found by its id at %v", n, got, drawer.Find(idOf(n)))
		}
	}
	if may := drawers.May(idOf(many + 1)); len(may) != 0 {
		t.Errorf("an id that is younger than all may be in %v", may)
	}
}

func TestDrawerFindsNothingWhereNothingIs(t *testing.T) {
	for _, d := range []executions.Drawer{{}, {Runs: []executions.DrawerRun{{Place: 3, Sequence: 9}}, IDs: make([]byte, 20)}, {IDs: []byte{1, 2, 3, 4, 5}}} {
		for n := -1; n < 6; n++ {
			if got := d.Sequence(n); got != 0 {
				t.Errorf("%+v has %d at %d", d, got, n)
			}
		}
	}
}

// TestForgotten: whatever an owner has had, and however much of its events and of its archive are gone when it
// is folded, nothing of theirs is left, and what others have is the fold of their own.
func TestForgotten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPast(t)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			rapid.SampledFrom([]func(){p.happen, p.happen, p.happen, p.happen, p.put, p.wrong}).Draw(t, "step")()
		}
		gone := rapid.SampledFrom(owners).Draw(t, "gone")
		p.end(gone)
		said := foldtest.Record(events.ExecutionsForgottenSubject(gone), p.next(), events.ExecutionsForgotten{})
		p.log = append(p.log, said)
		p.append(events.ArchiveGoneSubject(gone), said.Sequence, executions.Gone{Forgotten: true})
		for range rapid.IntRange(0, 20).Draw(t, "more") {
			p.happenTo(func(owner string) bool { return owner != gone })
		}
		of := func(subject string) bool { return events.OwnerOf(subject) == gone }
		others := p.folded(
			slices.DeleteFunc(slices.Clone(p.log), func(r events.Record) bool { return of(r.Subject) && r.Sequence != said.Sequence }),
			slices.DeleteFunc(slices.Clone(p.archive), func(a projections.Archived) bool { return of(a.Subject) && !p.isSaid(a) }))
		// The server removes what it removes in an order of its own, and may be stopped.
		left := func(subject string) bool { return !of(subject) || rapid.Bool().Draw(t, "left") }
		some := p.folded(
			slices.DeleteFunc(slices.Clone(p.log), func(r events.Record) bool { return r.Sequence != said.Sequence && !left(r.Subject) }),
			slices.DeleteFunc(slices.Clone(p.archive), func(a projections.Archived) bool { return !p.isSaid(a) && !left(a.Subject) }))
		for name, tx := range map[string]foldtest.Tx{"all": p.folded(p.log, p.archive), "some": some} {
			if !reflect.DeepEqual(tx, others) {
				t.Fatalf("with %s of what they had it is\n%v\nwant\n%v", name, tx, others)
			}
		}
		for key, value := range others {
			if q, is := value.(projections.Quarantined); strings.Contains(key, "."+gone) || is && of(q.Subject) {
				t.Fatalf("%s is left: %+v", key, value)
			}
		}
	})
}

func (p *past) isSaid(a projections.Archived) bool {
	return strings.Contains(string(a.Data), "forgotten")
}

// next is the next sequence of the log.
func (p *past) next() uint64 { p.sequence++; return p.sequence }

// wrong appends what is impossible.
func (p *past) wrong() {
	owner := rapid.SampledFrom(owners).Draw(p.T, "wrong owner")
	r := foldtest.Record(events.ExecutionSubject(owner, "01JDY3M8WZ9999999999999999"), p.next(), events.ExecutionStarted{Attempt: 1})
	p.log = append(p.log, r)
	for _, tx := range []foldtest.Tx{p.kept, p.soon} {
		if err := executions.Projection.Step(tx, r, nil); err != nil {
			p.Fatal(err)
		}
	}
}

// end ends all that an owner has.
func (p *past) end(owner string) {
	for p.happenTo(func(of string) bool { return of == owner && len(p.live) > 0 }) {
	}
}

// happenTo lets something happen to an execution that lives of an owner who is picked.
func (p *past) happenTo(picks func(owner string) bool) bool {
	i := slices.IndexFunc(p.live, func(e executions.Execution) bool { return picks(e.Owner) })
	if i < 0 {
		return false
	}
	e := p.live[i]
	r := foldtest.Record(events.ExecutionSubject(e.Owner, e.ID), p.next(), next(p.T, e))
	e, err := executions.Fold(e, r)
	if err != nil {
		p.Fatal(err)
	}
	if p.live[i] = e; e.Status.Final() {
		p.live = slices.Delete(p.live, i, i+1)
	}
	p.log = append(p.log, r)
	for _, tx := range []foldtest.Tx{p.kept, p.soon} {
		if err := executions.Projection.Step(tx, r, nil); err != nil {
			p.Fatal(err)
		}
	}
	return true
}

// folded applies each message of the archive as soon as the log has come to it. One that does not fit is
// passed over.
func (p *past) folded(all []events.Record, archive []projections.Archived) foldtest.Tx {
	tx := foldtest.Tx{}
	for i, r := range all {
		if err := executions.Projection.Step(tx, r, nil); err != nil {
			p.Fatal(err)
		}
		for len(archive) > 0 && (archive[0].At <= r.Sequence || i == len(all)-1) {
			for more := true; more; {
				var err error
				if more, err = executions.Projection.StepArchived(tx, archive[0]); err != nil && !projections.IsMismatch(err) {
					p.Fatal(err)
				}
			}
			archive = archive[1:]
		}
	}
	return tx
}
