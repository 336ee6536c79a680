// Package quickjson reads and writes the JSON that encoding/json writes of structs of data, several times as
// fast. It knows one form of each value, the one that encoding/json writes: the fields in their order, nothing
// between them. Everything else it leaves to encoding/json: what is right is what that says.
package quickjson

import (
	"encoding/json"
	"reflect"
	"sync"
)

// Decode reads a value into a variable that holds the zero value. It returns false where it leaves that to
// encoding/json, whether or not that can read it; the variable may have been changed then. The strings of the
// value are parts of one copy of what was read.
func Decode[T any](raw []byte, into *T) bool {
	p := planOf(reflect.TypeFor[T]())
	if p.read == nil {
		return false
	}
	r := reader{text: string(raw)}
	return p.read(&r, reflect.ValueOf(into).Elem()) && r.at == len(r.text)
}

// Marshal is json.Marshal.
func Marshal(value any) ([]byte, error) {
	t := reflect.TypeOf(value)
	if t == nil || t.Kind() != reflect.Struct {
		return json.Marshal(value)
	}
	p := planOf(t)
	if p.write == nil {
		return json.Marshal(value)
	}
	scratch := scratches.Get().(*[]byte)
	defer scratches.Put(scratch)
	out, ok := p.write((*scratch)[:0], reflect.ValueOf(value))
	if cap(out) <= maxKept {
		*scratch = out
	}
	if !ok {
		return json.Marshal(value)
	}
	return append(make([]byte, 0, len(out)), out...), nil
}

// maxKept is how large a buffer may be that is used again, in bytes.
const maxKept = 64 << 10

var scratches = sync.Pool{New: func() any { return new([]byte) }}

// plan is how the values of a type are read and written. Both are nil for a type of which something may be
// written otherwise than is known here.
type plan struct {
	// read reads a value that is the zero value; false says that it is not in the form that is known.
	read func(r *reader, into reflect.Value) bool
	// write appends a value; false says that encoding/json must.
	write func(out []byte, value reflect.Value) ([]byte, bool)
	// empty is what omitempty leaves out.
	empty func(value reflect.Value) bool
}

// plans are the plans that were made, by type.
var plans sync.Map

func planOf(t reflect.Type) *plan {
	if known, ok := plans.Load(t); ok {
		return known.(*plan)
	}
	p, _ := plans.LoadOrStore(t, makePlan(t, nil))
	return p.(*plan)
}
