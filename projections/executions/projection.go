package executions

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
)

// Projection keeps, in the bucket of executions, the first two only while the archive does not have it:
//
//	view.<owner>.<number>  Execution
//	id.<owner>.<id>        the number, in decimal
//	user.<owner>           User
//	batch.<owner>.<batch>  Batch
//	block.<owner>.<n>      Block, of the executions with numbers from n*BlockSize+1 on
//	drawer.<owner>.<n>     Drawer, of those with numbers from n*DrawerSize+1 on that the archive has
//	drawers.<owner>        Drawers
//	active.<owner>.<id>    <owner>.<number>, only while it is not final
var Projection = projections.Projection{
	Name: "hermes_executions", Apply: apply, Reads: reads, Decode: decode,
	Transient: &projections.Transient{Prefix: ActivePrefix, Witness: viewOfRef, Stands: isLive},
	Letting:   letting,
}

// User is what an owner's executions have in common.
type User struct {
	// Last is the number of the owner's latest execution.
	Last int64 `json:"last"`
	// LetGo is the number up to which there are no views, because the archive has them.
	LetGo int64 `json:"letGo,omitempty"`
	// Gone is the number up to which the archive has nothing either, because the owner has left.
	Gone int64 `json:"gone,omitempty"`
}

// Batch says where the executions of one batch are among its owner's: other numbers may lie between.
type Batch struct {
	First int64 `json:"first"`
	Last  int64 `json:"last"`
	// Count is how many there are.
	Count int64 `json:"count"`
}

// ViewKey is the key of an execution's view.
func ViewKey(owner string, number int64) string { return "view." + Ref(owner, number) }

// Ref is the value of an active key, and the end of the view key that it stands for.
func Ref(owner string, number int64) string { return owner + "." + strconv.FormatInt(number, 10) }

// IDKey is the key of an execution's number.
func IDKey(owner, id string) string { return "id." + owner + "." + id }

// UserKey is the key of an owner's User.
func UserKey(owner string) string { return "user." + owner }

// BatchKey is the key of one of an owner's batches.
func BatchKey(owner, batch string) string { return "batch." + owner + "." + batch }

// ActivePrefix begins the key of every live execution.
const ActivePrefix = "active."

// ActiveKey is the key that stands while an execution is live. Two owners may use one id.
func ActiveKey(owner, id string) string { return ActivePrefix + owner + "." + id }

func viewOfRef(ref any) string { return fmt.Sprint("view.", ref) }

func isLive(view any) bool {
	e, ok := view.(Execution)
	return ok && !e.Status.Final()
}

func apply(tx projections.Tx, r events.Record) error {
	if _, forgotten := r.Data.(events.ExecutionsForgotten); forgotten {
		return nil // the archive says it behind this, and then the keys go
	}
	owner, id, err := parse(r)
	if err != nil {
		return err
	}
	number, known, err := number(tx, IDKey(owner, id))
	if err != nil {
		return err
	}
	var e Execution
	if known {
		if e, known, err = projections.Get[Execution](tx, ViewKey(owner, number)); err != nil {
			return err
		}
		if !known {
			return impossible(r, "the view of the execution (number %d) has been let go", number)
		}
	}
	if r.Sequence <= e.Sequence {
		return nil // applied before
	}
	next, err := Fold(e, r)
	if err != nil {
		return err
	}
	if !known {
		user, _, err := projections.Get[User](tx, UserKey(owner))
		if err != nil {
			return err
		}
		user.Last++
		next.Number = user.Last
		tx.Put(UserKey(owner), user)
		tx.Put(IDKey(owner, id), projections.Text(strconv.FormatInt(next.Number, 10)))
		tx.Create(ActiveKey(owner, id), projections.Text(Ref(owner, next.Number)))
		if err := addToBatch(tx, next); err != nil {
			return err
		}
	}
	tx.Put(ViewKey(owner, next.Number), next)
	if next.Status.Final() {
		tx.Delete(ActiveKey(owner, id))
	}
	return note(tx, next, !known)
}

// addToBatch counts a new execution among those of its batch.
func addToBatch(tx projections.Tx, e Execution) error {
	if e.Request.Batch == nil {
		return nil
	}
	key := BatchKey(e.Owner, e.Request.Batch.ID)
	batch, known, err := projections.Get[Batch](tx, key)
	if err != nil {
		return err
	}
	if !known {
		batch.First = e.Number
	}
	batch.Last, batch.Count = e.Number, batch.Count+1
	tx.Put(key, batch)
	return nil
}

func reads(r events.Record, known projections.Known) []string {
	owner, id, err := parse(r)
	if err != nil {
		return nil
	}
	keys := []string{IDKey(owner, id)}
	switch value, found := known(keys[0]); {
	case !found:
		return keys
	case value != nil:
		text, _ := value.(projections.Text)
		if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			keys = append(keys, ViewKey(owner, n), BlockKey(owner, n))
		}
		return keys
	}
	keys = append(keys, UserKey(owner))
	if user, found := known(keys[1]); found {
		u, _ := user.(User)
		keys = append(keys, BlockKey(owner, u.Last+1))
	}
	if d, ok := r.Data.(events.ExecutionRequested); ok && d.Batch != nil && d.Batch.Check() == nil {
		keys = append(keys, BatchKey(owner, d.Batch.ID))
	}
	return keys
}

// parse refuses names that no service would have let in: they may not be legal in a key.
func parse(r events.Record) (owner, id string, err error) {
	owner, id, err = events.ParseExecutionSubject(r.Subject)
	if err == nil {
		err = events.CheckUserName(owner)
	}
	if err == nil {
		err = events.CheckExecutionID(id)
	}
	if err != nil {
		return "", "", impossible(r, "%v", err)
	}
	return owner, id, nil
}

func number(tx projections.Tx, key string) (int64, bool, error) {
	text, known, err := projections.Get[projections.Text](tx, key)
	if err != nil || !known {
		return 0, false, err
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	return n, true, err
}

func decode(key string, raw []byte) (any, error) {
	switch kind, _, _ := strings.Cut(key, "."); kind {
	case "view":
		return projections.DecodeJSON[Execution](key, raw)
	case "user":
		return projections.DecodeJSON[User](key, raw)
	case "batch":
		return projections.DecodeJSON[Batch](key, raw)
	case "block":
		return projections.DecodeJSON[Block](key, raw)
	case "drawers":
		return projections.DecodeJSON[Drawers](key, raw)
	case "drawer":
		return projections.DecodeJSON[Drawer](key, raw)
	case projections.KeyArchived:
		return projections.DecodeJSON[projections.ArchivedMark](key, raw)
	}
	return projections.Text(raw), nil
}
