package quickjson

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type inner struct {
	Name  string `json:"name"`
	Count int64  `json:"count,omitempty"`
}

type kind string

// all is a struct of everything that is known.
type all struct {
	Kind    kind              `json:"kind"`
	Text    string            `json:"text,omitempty"`
	Number  int               `json:"number"`
	Big     uint64            `json:"big,omitempty"`
	Yes     bool              `json:"yes,omitempty"`
	Raw     []byte            `json:"raw,omitempty"`
	Bytes   []byte            `json:"bytes"`
	At      time.Time         `json:"at,omitzero"`
	Then    time.Time         `json:"then"`
	Inner   inner             `json:"inner"`
	Zero    inner             `json:"zero,omitzero"`
	Pointer *inner            `json:"pointer,omitempty"`
	Null    *inner            `json:"null"`
	Words   []string          `json:"words,omitempty"`
	List    []inner           `json:"list"`
	Names   [][3]string       `json:"names"`
	Env     map[string]string `json:"env,omitempty"`
	Skipped int               `json:"-"`
	hidden  int
}

func drawn(t *rapid.T) (a all) {
	word := rapid.OneOf(rapid.StringMatching(`[a-z0-9 ./:_-]{0,12}`), rapid.String(), rapid.SampledFrom([]string{`"`, `\`, "<&>", "\u2028", "é", "\xff", "\x00", "\x7f"}))
	number := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, 1, -1, 999_999_999_999_999_999, -1_000_000_000_000_000_000}))
	some := func() inner { return inner{Name: word.Draw(t, "name"), Count: number.Draw(t, "count")} }
	maybe := func() bool { return rapid.Bool().Draw(t, "maybe") }
	a.Kind, a.Text, a.Number = kind(word.Draw(t, "kind")), word.Draw(t, "text"), int(number.Draw(t, "number"))
	a.Big, a.Yes, a.Inner = rapid.Uint64().Draw(t, "big"), maybe(), some()
	a.Raw = rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "raw")
	if maybe() {
		a.Bytes = rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "bytes")
		a.At = time.Unix(0, rapid.Int64Range(0, 4e18).Draw(t, "at")).UTC()
		p := some()
		a.Pointer, a.Null, a.Zero = &p, &p, some()
		a.Words = rapid.SliceOfN(word, 0, 3).Draw(t, "words")
		a.Env = rapid.MapOfN(word, word, 0, 3).Draw(t, "env")
		a.Names = [][3]string{{word.Draw(t, "0"), word.Draw(t, "1"), "x"}, {}}
		a.List = []inner{some(), {}}
	}
	a.hidden, a.Skipped = 1, 1
	a.Then = time.Date(rapid.IntRange(-1, 10_001).Draw(t, "year"), 2, 3, 4, 5, 6, 7, time.FixedZone("", 3600*rapid.IntRange(-3, 30).Draw(t, "zone")))
	return a
}

// TestMarshalIsJSONs draws values: they are written as encoding/json writes them, or refused as that does.
func TestMarshalIsJSONs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawn(t)
		got, gotErr := Marshal(a)
		want, wantErr := json.Marshal(a)
		if !bytes.Equal(got, want) || (gotErr == nil) != (wantErr == nil) {
			t.Fatalf("written as\n%s, %v, want\n%s, %v", got, gotErr, want, wantErr)
		}
	})
}

// agrees fails unless a text that is read is what encoding/json reads without unknown fields, and says whether
// it was read.
func agrees(t interface {
	Helper()
	Fatalf(string, ...any)
}, raw []byte) bool {
	t.Helper()
	var got, want all
	if !Decode(raw, &got) {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&want); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%s is read as\n%+v, want\n%+v, %v", raw, got, want, err)
	}
	if rest := raw[d.InputOffset():]; len(rest) > 0 {
		t.Fatalf("%s is read, with %q at its end", raw, rest)
	}
	return true
}

// TestDecodeIsJSONs draws values, and changes some letters of what is written of them: what is read is what
// encoding/json reads.
func TestDecodeIsJSONs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw, err := json.Marshal(drawn(t))
		if err != nil {
			t.SkipNow()
		}
		agrees(t, raw)
		for range 20 {
			changed := bytes.Clone(raw)
			i := rapid.IntRange(0, len(raw)-1).Draw(t, "at")
			if rapid.Bool().Draw(t, "drop") {
				changed = append(changed[:i], changed[min(len(raw), i+rapid.IntRange(1, 9).Draw(t, "letters")):]...)
			} else {
				changed[i] = rapid.SampledFrom([]byte(`0123456789-+.eE"\/{}[]:,nulltruefalse `+"\n\x00\xff")).Draw(t, "letter")
			}
			agrees(t, changed)
		}
	})
}

// TestDecodeReadsWhatIsUsual: what is not rare is not left to encoding/json.
func TestDecodeReadsWhatIsUsual(t *testing.T) {
	for _, a := range []all{
		{},
		{Kind: "run", Text: "é", Number: -5, Big: 7, Yes: true, Raw: []byte("raw"), Bytes: []byte{}, At: time.Unix(1, 5).UTC(), Inner: inner{"a", 1}, Pointer: &inner{}, Null: &inner{"b", 0}, Words: []string{"a", ""}, List: []inner{{}}, Names: [][3]string{{"a", "b", "c"}}, Env: map[string]string{"A": "b", "": ""}},
	} {
		a.Bytes, a.Null, a.List, a.Names = append([]byte{}, a.Bytes...), &inner{}, append([]inner{}, a.List...), append([][3]string{}, a.Names...)
		raw, err := json.Marshal(a)
		if err != nil || !agrees(t, raw) {
			t.Errorf("%s is left to encoding/json, %v", raw, err)
		}
	}
}

// TestLeft: what is not in the one form, and types of which something is not known, are left to encoding/json.
func TestLeft(t *testing.T) {
	whole := `{"name":"a","count":5}`
	for _, text := range []string{
		"", " " + whole, whole + " ", whole + "x", whole + whole, `{"count":5,"name":"a"}`, `{"name":"a","name":"b"}`, `{"name":"a","other":5}`, `{"name":"a",}`,
		`{"name":"a" }`, `{"Name":"a"}`, `{"name":"\n"}`, `{"name":"a","count":05}`, `{"name":"a","count":5.0}`, `{"name":"a","count":5e0}`, `{"name":"a","count":-}`,
		`{"name":null}`, `{"name":5}`, `{"name":"` + "\xff" + `"}`, `{"name":"a`, `{"name":"a"`, `{`, "null", "[]",
	} {
		var v inner
		if Decode([]byte(text), &v) {
			t.Errorf("%q is read as %+v", text, v)
		}
	}
	left[struct {
		F float64 `json:"f"`
	}](t)
	left[struct {
		A any `json:"a"`
	}](t)
	left[struct {
		N int `json:"n,string"`
	}](t)
	left[struct{ N int }](t)
	left[struct{ inner }](t)
	left[struct {
		R json.RawMessage `json:"r"`
	}](t)
	left[struct {
		A int `json:"a"`
		B int `json:"A"`
	}](t)
	left[loop](t)
	if raw, err := Marshal(loop{Next: &loop{}}); err != nil || string(raw) != `{"next":{"next":null}}` {
		t.Errorf("written as %s, %v", raw, err)
	}
	if raw, err := Marshal(map[string]int{"a": 1}); err != nil || string(raw) != `{"a":1}` {
		t.Errorf("written as %s, %v", raw, err)
	}
}

type loop struct {
	Next *loop `json:"next"`
}

func left[T any](t *testing.T) {
	t.Helper()
	var v T
	if Decode([]byte("{}"), &v) {
		t.Errorf("a %T is read", v)
	}
}

func FuzzDecode(f *testing.F) {
	raw, err := json.Marshal(all{Kind: "k", Words: []string{"w"}, Env: map[string]string{"a": "b"}, Pointer: &inner{Name: strings.Repeat("n", 9)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) { agrees(t, raw) })
}
