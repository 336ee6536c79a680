package executions

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/hermes-serverless/hermes/events"
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

// Brief is what a block knows of an execution.
type Brief struct {
	Function events.FunctionRef
	// Watcher is empty before the first start.
	Watcher string
	Status  Status
}

const (
	rowBytes = 5
	// most is the highest place that a row holds; what comes up behind it is not known.
	most = 1<<16 - 1
)

// rowStatuses are those that a row holds, from 1. They are stored: a new one goes to the end.
func rowStatuses() []Status {
	return []Status{Queued, Running, Success, Error, Cancelled, Timeout, Lost}
}

// BlockKey is the key of the block that a number is in.
func BlockKey(owner string, number int64) string {
	return "block." + owner + "." + strconv.FormatInt((number-1)/BlockSize, 10)
}

// BlockFirst is the first number of the block that a number is in.
func BlockFirst(number int64) int64 { return number - (number-1)%BlockSize }

// Brief returns what is known of the n-th execution of the block, from 0, and whether anything is.
func (b Block) Brief(n int) (brief Brief, known bool) {
	if (n+1)*rowBytes > len(b.Rows) {
		return brief, false
	}
	row := b.Rows[n*rowBytes:]
	function, watcher := int(binary.LittleEndian.Uint16(row)), int(binary.LittleEndian.Uint16(row[2:]))
	status := int(row[4])
	if function < 1 || function > len(b.Functions) || watcher > len(b.Watchers) || status < 1 || status > len(rowStatuses()) {
		return brief, false
	}
	f := b.Functions[function-1]
	brief = Brief{Function: events.FunctionRef{Owner: f[0], Name: f[1], Version: f[2]}, Status: rowStatuses()[status-1]}
	if watcher > 0 {
		brief.Watcher = b.Watchers[watcher-1]
	}
	return brief, true
}

// with returns the block with an execution as it is now. The block itself stays as it was.
func (b Block) with(e Execution) Block {
	at := int((e.Number - 1) % BlockSize * rowBytes)
	rows := make([]byte, max(len(b.Rows), at+rowBytes))
	copy(rows, b.Rows)
	b.Rows = rows
	ref := e.Request.Function
	function, watcher := 0, 0
	b.Functions, function = place(b.Functions, [3]string{ref.Owner, ref.Name, ref.Version})
	if e.Watcher != "" {
		b.Watchers, watcher = place(b.Watchers, e.Watcher)
	}
	row := rows[at : at+rowBytes]
	clear(row)
	if function > 0 && (watcher > 0 || e.Watcher == "") {
		binary.LittleEndian.PutUint16(row, uint16(function))
		binary.LittleEndian.PutUint16(row[2:], uint16(watcher))
		row[4] = byte(1 + slices.Index(rowStatuses(), e.Status)) // 0 for one that it does not know
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
