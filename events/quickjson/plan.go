package quickjson

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// makePlan makes the plan of a type that is part of the outer ones.
func makePlan(t reflect.Type, outer []reflect.Type) *plan {
	if slices.Contains(outer, t) { // it has no end
		return &plan{}
	}
	outer = append(outer, t)
	if t == reflect.TypeFor[time.Time]() {
		return &plan{read: readTime, write: writeTime, empty: never}
	}
	if hasMethods(t) {
		return &plan{}
	}
	switch t.Kind() {
	case reflect.String:
		return &plan{
			read: func(r *reader, into reflect.Value) bool {
				s, ok := r.string()
				into.SetString(s)
				return ok
			},
			write: func(out []byte, v reflect.Value) ([]byte, bool) { return appendString(out, v.String()) },
			empty: func(v reflect.Value) bool { return v.Len() == 0 },
		}
	case reflect.Bool:
		return &plan{read: readBool, write: writeBool, empty: func(v reflect.Value) bool { return !v.Bool() }}
	case reflect.Int, reflect.Int64:
		return &plan{
			read: func(r *reader, into reflect.Value) bool {
				n, ok := r.int()
				if !ok || into.OverflowInt(n) {
					return false
				}
				into.SetInt(n)
				return true
			},
			write: func(out []byte, v reflect.Value) ([]byte, bool) { return strconv.AppendInt(out, v.Int(), 10), true },
			empty: func(v reflect.Value) bool { return v.Int() == 0 },
		}
	case reflect.Uint64:
		return &plan{
			read: func(r *reader, into reflect.Value) bool {
				n, ok := r.int()
				if !ok || n < 0 || r.negative {
					return false
				}
				into.SetUint(uint64(n))
				return true
			},
			write: func(out []byte, v reflect.Value) ([]byte, bool) { return strconv.AppendUint(out, v.Uint(), 10), true },
			empty: func(v reflect.Value) bool { return v.Uint() == 0 },
		}
	case reflect.Pointer:
		return pointerPlan(t, outer)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 && !hasMethods(t.Elem()) {
			return &plan{read: readBytes, write: writeBytes, empty: isEmpty}
		}
		return listPlan(t, outer)
	case reflect.Array:
		return listPlan(t, outer)
	case reflect.Map:
		return mapPlan(t, outer)
	case reflect.Struct:
		return structPlan(t, outer)
	}
	return &plan{}
}

func never(reflect.Value) bool     { return false }
func isEmpty(v reflect.Value) bool { return v.Len() == 0 }

// hasMethods reports whether a type, or a pointer to it, says itself how it is written, read or left out.
func hasMethods(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	for _, method := range []reflect.Type{
		reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[encoding.TextMarshaler](),
		reflect.TypeFor[encoding.TextUnmarshaler](), reflect.TypeFor[interface{ IsZero() bool }](),
	} {
		if p.Implements(method) {
			return true
		}
	}
	return false
}

func pointerPlan(t reflect.Type, outer []reflect.Type) *plan {
	of := makePlan(t.Elem(), outer)
	if of.read == nil {
		return &plan{}
	}
	return &plan{
		read: func(r *reader, into reflect.Value) bool {
			value := reflect.New(t.Elem())
			into.Set(value)
			return of.read(r, value.Elem())
		},
		write: func(out []byte, v reflect.Value) ([]byte, bool) {
			if v.IsNil() {
				return append(out, "null"...), true
			}
			return of.write(out, v.Elem())
		},
		empty: func(v reflect.Value) bool { return v.IsNil() },
	}
}

// listPlan is that of a slice, or of an array.
func listPlan(t reflect.Type, outer []reflect.Type) *plan {
	of := makePlan(t.Elem(), outer)
	if of.read == nil {
		return &plan{}
	}
	isSlice := t.Kind() == reflect.Slice
	return &plan{
		read: func(r *reader, into reflect.Value) bool {
			if !r.next('[') {
				return false
			}
			if isSlice {
				into.Set(reflect.MakeSlice(t, 0, 0))
			}
			n := 0
			for !r.next(']') {
				switch {
				case n > 0 && !r.next(','), !isSlice && n == into.Len():
					return false
				case isSlice:
					if n == into.Cap() {
						into.Grow(1)
					}
					into.SetLen(n + 1)
				}
				if !of.read(r, into.Index(n)) {
					return false
				}
				n++
			}
			return n == into.Len()
		},
		write: func(out []byte, v reflect.Value) (_ []byte, ok bool) {
			if isSlice && v.IsNil() {
				return append(out, "null"...), true
			}
			out = append(out, '[')
			for i := range v.Len() {
				if i > 0 {
					out = append(out, ',')
				}
				if out, ok = of.write(out, v.Index(i)); !ok {
					return out, false
				}
			}
			return append(out, ']'), true
		},
		empty: isEmpty,
	}
}

// mapPlan reads what has strings as keys; it leaves writing, in the order of the keys, to encoding/json.
func mapPlan(t reflect.Type, outer []reflect.Type) *plan {
	of := makePlan(t.Elem(), outer)
	if of.read == nil || t.Key() != reflect.TypeFor[string]() {
		return &plan{}
	}
	return &plan{
		read: func(r *reader, into reflect.Value) bool {
			if !r.next('{') {
				return false
			}
			into.Set(reflect.MakeMap(t))
			for n := 0; !r.next('}'); n++ {
				if n > 0 && !r.next(',') {
					return false
				}
				key, ok := r.string()
				value := reflect.New(t.Elem()).Elem()
				if !ok || !r.next(':') || !of.read(r, value) {
					return false
				}
				into.SetMapIndex(reflect.ValueOf(key), value)
			}
			return true
		},
		write: func(out []byte, v reflect.Value) ([]byte, bool) {
			raw, err := json.Marshal(v.Interface())
			return append(out, raw...), err == nil
		},
		empty: isEmpty,
	}
}

// field is one of a struct.
type field struct {
	index int
	// name is as it is written: with quotes and a colon.
	name string
	*plan
	omit func(v reflect.Value) bool
}

func structPlan(t reflect.Type, outer []reflect.Type) *plan {
	var fields []field
	names := map[string]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || tag == "" && f.IsExported() || names[strings.ToLower(tag)] {
			return &plan{}
		}
		if tag == "-" && options == "" || !f.IsExported() {
			continue
		}
		name, ok := appendString(nil, tag)
		of := makePlan(f.Type, outer)
		if !ok || of.read == nil {
			return &plan{}
		}
		names[strings.ToLower(tag)] = true
		made := field{index: i, name: string(name) + ":", plan: of, omit: never}
		switch options {
		case "":
		case "omitempty":
			made.omit = of.empty
			if f.Type.Kind() == reflect.Struct {
				made.omit = never
			}
		case "omitzero":
			made.omit = func(v reflect.Value) bool { return v.IsZero() }
			if f.Type == reflect.TypeFor[time.Time]() {
				made.omit = func(v reflect.Value) bool { return v.Interface().(time.Time).IsZero() }
			}
		default:
			return &plan{}
		}
		fields = append(fields, made)
	}
	return &plan{
		read:  func(r *reader, into reflect.Value) bool { return readStruct(r, fields, into) },
		write: func(out []byte, v reflect.Value) ([]byte, bool) { return writeStruct(out, fields, v) },
		empty: never,
	}
}

func readStruct(r *reader, fields []field, into reflect.Value) bool {
	if !r.next('{') {
		return false
	}
	if r.next('}') {
		return true
	}
	for i := range fields {
		f := &fields[i]
		if !r.skip(f.name) {
			continue
		}
		if !f.read(r, into.Field(f.index)) {
			return false
		}
		if r.next('}') {
			return true
		}
		if !r.next(',') {
			return false
		}
	}
	return false
}

func writeStruct(out []byte, fields []field, v reflect.Value) (_ []byte, ok bool) {
	out = append(out, '{')
	begin := len(out)
	for i := range fields {
		f := &fields[i]
		value := v.Field(f.index)
		if f.omit(value) {
			continue
		}
		if len(out) > begin {
			out = append(out, ',')
		}
		out = append(out, f.name...)
		if out, ok = f.write(out, value); !ok {
			return out, false
		}
	}
	return append(out, '}'), true
}

func readBool(r *reader, into reflect.Value) bool {
	if r.skip("true") {
		into.SetBool(true)
		return true
	}
	return r.skip("false")
}

func writeBool(out []byte, v reflect.Value) ([]byte, bool) {
	return strconv.AppendBool(out, v.Bool()), true
}

func readBytes(r *reader, into reflect.Value) bool {
	text, ok := r.string()
	if !ok {
		return false
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	into.SetBytes(raw)
	return err == nil
}

func writeBytes(out []byte, v reflect.Value) ([]byte, bool) {
	if v.IsNil() {
		return append(out, "null"...), true
	}
	out = append(out, '"')
	out = base64.StdEncoding.AppendEncode(out, v.Bytes())
	return append(out, '"'), true
}

func readTime(r *reader, into reflect.Value) bool {
	begin := r.at
	_, ok := r.string()
	return ok && into.Addr().Interface().(*time.Time).UnmarshalJSON([]byte(r.text[begin:r.at])) == nil
}

func writeTime(out []byte, v reflect.Value) ([]byte, bool) {
	out, err := v.Interface().(time.Time).AppendText(append(out, '"'))
	return append(out, '"'), err == nil
}
