package executions

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/hermes-serverless/hermes/projections"
)

// BlockSize is how many executions one Block is of.
const BlockSize = 256

// Block says of the executions of an owner with successive numbers what most filters ask for, in a few
// bytes each, so that a search does not have to read the views that it does not pick.
type Block struct {
	// Functions are the owner, name and version of each that is called, Watchers the names of those that
	// run or ran last, both in the order in which they came up.
	Functions [][3]string `json:"functions"`
	Watchers  []string    `json:"watchers,omitempty"`
	// Rows has rowBytes for each number from the block's first on: the places in Functions and in
	// Watchers, from 1, and the status. A row of zeros is of an execution of which the block knows nothing.
	Rows []byte `json:"rows"`
}

const (
	rowBytes = 5
	// most is the highest place that a row holds; what comes up behind it is not known.
	most = 1<<16 - 1
)

// statusCount is how many rowStatuses there are.
const statusCount = 7

// rowStatuses are those that a row holds, from 1. They are stored: a new one goes to the end.
func rowStatuses() [statusCount]Status {
	return [statusCount]Status{Queued, Running, Success, Error, Cancelled, Timeout, Lost}
}

// BlockKey is the key of the block that a number is in.
func BlockKey(owner string, number int64) string {
	return "block." + owner + "." + strconv.FormatInt((number-1)/BlockSize, 10)
}

// BlockFirst is the first number of the block that a number is in.
func BlockFirst(number int64) int64 { return number - (number-1)%BlockSize }

// row is what a block has of the n-th execution, as places from 1, the watcher's 0 before the first start;
// known says whether it has anything.
func (b Block) row(n int) (function, watcher, status int, known bool) {
	if n < 0 || (n+1)*rowBytes > len(b.Rows) {
		return 0, 0, 0, false
	}
	row := b.Rows[n*rowBytes:]
	function, watcher = int(binary.LittleEndian.Uint16(row)), int(binary.LittleEndian.Uint16(row[2:]))
	status = int(row[4])
	known = function >= 1 && function <= len(b.Functions) && watcher <= len(b.Watchers) && status >= 1 && status <= statusCount
	return function, watcher, status, known
}

// Ended reports whether nothing in the block can change any more: it is full, and all of its executions have
// ended.
func (b Block) Ended() bool {
	statuses := rowStatuses()
	for n := range BlockSize {
		_, _, status, known := b.row(n)
		if !known || !statuses[status-1].Final() {
			return false
		}
	}
	return true
}

// with returns the block with an execution as it is now. The block itself stays as it was.
func (b Block) with(e Execution) Block {
	at := int((e.Number - 1) % BlockSize * rowBytes)
	rows := make([]byte, max(len(b.Rows), at+rowBytes))
	copy(rows, b.Rows)
	b.Rows = rows
	ref := e.Request.Function
	name := [3]string{ref.Owner, ref.Name, ref.Version}
	// Most are where they were.
	function, watcher, _, known := b.row(at / rowBytes)
	if !known || b.Functions[function-1] != name {
		b.Functions, function = place(b.Functions, name)
	}
	switch {
	case e.Watcher == "":
		watcher = 0
	case !known || watcher == 0 || b.Watchers[watcher-1] != e.Watcher:
		b.Watchers, watcher = place(b.Watchers, e.Watcher)
	}
	row := rows[at : at+rowBytes]
	clear(row)
	if function > 0 && (watcher > 0 || e.Watcher == "") {
		binary.LittleEndian.PutUint16(row, uint16(function))
		binary.LittleEndian.PutUint16(row[2:], uint16(watcher))
		statuses := rowStatuses()
		row[4] = byte(1 + slices.Index(statuses[:], e.Status)) // 0 for one that it does not know
	}
	return b
}

// place finds a name, or adds it, and returns its place from 1; 0 if there is none left.
func place[T comparable](names []T, name T) ([]T, int) {
	if i := slices.Index(names, name); i >= 0 {
		return names, i + 1
	}
	if len(names) >= most {
		return names, 0
	}
	return append(slices.Clip(names), name), len(names) + 1
}

// note notes in its block how an execution is now. What begins a block finds none.
func note(tx projections.Tx, e Execution, isNew bool) error {
	key := BlockKey(e.Owner, e.Number)
	var b Block
	if !isNew || e.Number != BlockFirst(e.Number) {
		var err error
		if b, _, err = projections.Get[Block](tx, key); err != nil {
			return err
		}
	}
	tx.Put(key, b.with(e))
	return nil
}
