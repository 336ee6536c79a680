package executions

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
)

// Gone is what the archive says of an owner who has left: nothing is kept of their executions up to the
// one with this number.
type Gone struct {
	Last int64 `json:"last,omitempty"`
	// Forgotten: nothing at all is kept, their events neither. An earlier version kept those.
	Forgotten bool `json:"forgotten,omitempty"`
}

// letting lets go of the keys of executions whose final views the archive has: an owner's in the order
// of their numbers, each once.
var letting = &projections.Letting{
	Go: letGo, Reads: readsOfArchived, Prefixes: []string{"view.", "id."}, Sequence: sequenceOf, Gone: isLetGo,
	Forgotten: events.ArchiveGoneSubject("*"), Forgets: forgets,
}

func forgets(a projections.Archived) bool {
	var gone Gone
	_, month, err := events.ParseArchiveSubject(a.Subject)
	return err == nil && month == events.ArchiveGone && json.Unmarshal(a.Data, &gone) == nil && gone.Forgotten
}

// forget deletes all that there is of an owner, so much at a time.
func forget(tx projections.Tx, owner string) (more bool, err error) {
	const most = projections.MaxLetGo - 2
	keys, err := tx.Owned(owner, most)
	if err != nil {
		return false, err
	}
	if len(keys) < most {
		quarantined, err := tx.Quarantined(owner, most-len(keys))
		if err != nil {
			return false, err
		}
		keys = append(keys, quarantined...)
	}
	for _, key := range append(keys, UserKey(owner), DrawersKey(owner)) {
		tx.Delete(key)
	}
	return len(keys) == most, nil
}

func letGo(tx projections.Tx, a projections.Archived) (more bool, err error) {
	owner, month, err := events.ParseArchiveSubject(a.Subject)
	if err != nil {
		return false, mismatch(a, nil, err.Error())
	}
	if forgets(a) {
		return forget(tx, owner)
	}
	user, _, err := projections.Get[User](tx, UserKey(owner))
	if err != nil {
		return false, err
	}
	if month == events.ArchiveGone {
		return letAllGo(tx, a, owner, user)
	}
	var e Execution
	if err := json.Unmarshal(a.Data, &e); err != nil {
		return false, mismatch(a, nil, err.Error())
	}
	if e.Owner == owner && e.Number <= user.LetGo {
		return false, nil // once is enough
	}
	view, known, err := projections.Get[Execution](tx, ViewKey(owner, e.Number))
	if err != nil {
		return false, err
	}
	if !known {
		return false, mismatch(a, nil, "there is no such execution")
	}
	want, err := json.Marshal(view)
	if err != nil {
		return false, err
	}
	// As this build writes it: what an older one wrote has not to be the same byte for byte.
	have, err := json.Marshal(e)
	switch {
	case err != nil:
		return false, err
	case e.Owner != owner || e.Number != user.LetGo+1 || !e.Status.Final():
		return false, mismatch(a, want, "it is not the owner's next execution that has ended")
	case !bytes.Equal(have, want):
		return false, mismatch(a, want, "the execution was another")
	}
	drawer, _, err := projections.Get[Drawer](tx, DrawerKey(owner, e.Number))
	if err != nil {
		return false, err
	}
	drawers, _, err := projections.Get[Drawers](tx, DrawersKey(owner))
	if err != nil {
		return false, err
	}
	tx.Delete(ViewKey(owner, e.Number))
	tx.Delete(IDKey(owner, e.ID))
	tx.Put(DrawerKey(owner, e.Number), drawer.with(e.Number, e.ID, a.Sequence))
	tx.Put(DrawersKey(owner), drawers.with(e.Number, e.ID))
	user.LetGo = e.Number
	tx.Put(UserKey(owner), user)
	return false, nil
}

// letAllGo lets go of what there is of an owner up to a number, so much at a time.
func letAllGo(tx projections.Tx, a projections.Archived, owner string, user User) (more bool, err error) {
	var gone Gone
	if err := json.Unmarshal(a.Data, &gone); err != nil {
		return false, mismatch(a, nil, err.Error())
	}
	if gone.Last > user.Last {
		return false, mismatch(a, nil, "the owner never had so many executions")
	}
	changes := 0
	for ; user.Gone < gone.Last && changes+6 < projections.MaxLetGo; user.Gone++ {
		n := user.Gone + 1
		if n > user.LetGo {
			e, _, err := projections.Get[Execution](tx, ViewKey(owner, n))
			if err != nil {
				return false, err
			}
			if !e.Status.Final() {
				tx.Put(UserKey(owner), user)
				return false, mismatch(a, nil, "execution "+strconv.FormatInt(n, 10)+" has not ended")
			}
			tx.Delete(ViewKey(owner, n))
			tx.Delete(IDKey(owner, e.ID))
			user.LetGo = n
			changes += 2
		}
		if n%BlockSize == 0 {
			tx.Delete(BlockKey(owner, n))
			changes++
		}
		if n%DrawerSize == 0 || n == gone.Last {
			drawer, err := tx.Get(DrawerKey(owner, n))
			if err != nil {
				return false, err
			}
			if drawer != nil {
				tx.Delete(DrawerKey(owner, n))
			}
			changes++
		}
	}
	tx.Put(UserKey(owner), user)
	if user.Gone < gone.Last {
		return true, nil
	}
	drawers, _, err := projections.Get[Drawers](tx, DrawersKey(owner))
	if err != nil {
		return false, err
	}
	tx.Put(DrawersKey(owner), drawers.without(gone.Last))
	return false, nil
}

func mismatch(a projections.Archived, want []byte, why string) error {
	return &projections.MismatchError{Subject: a.Subject, Sequence: a.Sequence, Have: a.Data, Want: want, Why: why}
}

func readsOfArchived(a projections.Archived) []string {
	owner, _, err := events.ParseArchiveSubject(a.Subject)
	if err != nil {
		return nil
	}
	keys := []string{UserKey(owner), DrawersKey(owner)}
	var of struct{ Number int64 }
	if json.Unmarshal(a.Data, &of) == nil && of.Number > 0 {
		keys = append(keys, ViewKey(owner, of.Number), DrawerKey(owner, of.Number))
	}
	return keys
}

func sequenceOf(view any) uint64 {
	e, _ := view.(Execution)
	return e.Sequence
}

// isLetGo judges the key of a view, or of an id.
func isLetGo(tx projections.Tx, key string, value any) (bool, error) {
	parts := strings.Split(key, ".")
	if len(parts) != 3 {
		return false, nil
	}
	number := parts[2]
	if text, isID := value.(projections.Text); isID {
		number = string(text)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return false, nil
	}
	user, _, err := projections.Get[User](tx, UserKey(parts[1]))
	return n <= user.LetGo, err
}
