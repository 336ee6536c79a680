package events_test

import (
	"hash/fnv"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a", events.MaxNameBytes)
	for _, c := range []struct {
		check     func(string) error
		good, bad []string
	}{
		{events.CheckFunctionName, []string{"a", "cuda-sort", "_x", "0", "a-", long}, []string{"", "-a", "A", "a.b", "a b", "a/b", "*", ">", "é", "a\n", long + "a"}},
		{events.CheckUserName, []string{"alice", "a_b-c", "7", long}, []string{"", "-a", "Alice", "a.b", "a@b", "*", "a\n", long + "a"}},
		{events.CheckWatcherName, []string{"node-1"}, []string{"", "node.1", "node 1"}},
		{events.CheckVersion, []string{"1.0.0", "0.0.0", "10.20.300"}, []string{"", "1.0", "1.0.0.0", "01.0.0", "1.0.0-rc1", "v1.0.0", "1.0.0\n", "9999999999.0.0"}},
		{events.CheckDigest, []string{"sha256:" + strings.Repeat("0a", 32)}, []string{"", "sha256:", "sha256:" + strings.Repeat("0A", 32), "sha512:" + strings.Repeat("0a", 32), strings.Repeat("0a", 32)}},
		{events.CheckExecutionID, []string{"01JDY3M8WZ0000000000000000", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"}, []string{"", "01jdy3m8wz0000000000000000", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01JDY3M8WZ000000000000000", "01JDY3M8WZ000000000000000I"}},
	} {
		for _, s := range c.good {
			if err := c.check(s); err != nil {
				t.Error(err)
			}
		}
		for _, s := range c.bad {
			if c.check(s) == nil {
				t.Errorf("%q passes", s)
			}
		}
	}
}

// TestExecutionIDs: what is checked byte by byte is what the form says.
func TestExecutionIDs(t *testing.T) {
	form := regexp.MustCompile(`^[0-7][0-9A-HJKMNP-TV-Z]{25}$`)
	rapid.Check(t, func(t *rapid.T) {
		id := []byte(rapid.StringMatching(`[0-9A-Z]{25,27}`).Draw(t, "id"))
		for i := range id { // most letters are good ones
			if strings.ContainsRune("ILOU", rune(id[i])) && rapid.IntRange(0, 9).Draw(t, "other") > 0 {
				id[i] = '7'
			}
		}
		if rapid.Bool().Draw(t, "spoil") {
			id[rapid.IntRange(0, len(id)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "by")
		}
		if err := events.CheckExecutionID(string(id)); (err == nil) != form.Match(id) {
			t.Fatalf("%q: %v", id, err)
		}
	})
}

func TestParseFunctionRef(t *testing.T) {
	for s, want := range map[string]events.FunctionRef{
		"vadd":             {Name: "vadd"},
		"vadd:1.2.3":       {Name: "vadd", Version: "1.2.3"},
		"alice/vadd":       {Owner: "alice", Name: "vadd"},
		"alice/vadd:1.2.3": {Owner: "alice", Name: "vadd", Version: "1.2.3"},
	} {
		if got, err := events.ParseFunctionRef(s); err != nil || got != want {
			t.Errorf("%q is %+v, %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "/", ":", "/vadd", "vadd:", "a/b/c", "alice/vadd:1", "alice/:1.0.0", "vadd:1.0.0:2.0.0", "a b"} {
		if got, err := events.ParseFunctionRef(s); err == nil || got != (events.FunctionRef{}) {
			t.Errorf("%q is %+v, %v", s, got, err)
		}
	}
}

// FuzzParseFunctionRef: what is accepted is what its parts spell.
func FuzzParseFunctionRef(f *testing.F) {
	for _, s := range []string{"vadd", "alice/vadd:1.0.0", "a/b/c", ":", "é/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := events.ParseFunctionRef(s)
		if err != nil {
			return
		}
		spelled := r.Name
		if r.Owner != "" {
			spelled = r.Owner + "/" + spelled
		}
		if r.Version != "" {
			spelled += ":" + r.Version
		}
		if spelled != s {
			t.Fatalf("%q was read as %q", s, spelled)
		}
		if err := events.CheckFunctionName(r.Name); err != nil {
			t.Fatal(err)
		}
	})
}

// TestNamesAreAsTheirForm: what is checked letter by letter is what the form in the words says.
func TestNamesAreAsTheirForm(t *testing.T) {
	form := regexp.MustCompile(`^[a-z0-9_][a-z0-9_\-]*$`)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.StringMatching(`[a-z0-9_\-]{0,4}`), rapid.StringMatching(`[a-zA-Z0-9_\-.\n/ {}`+"`"+`:]{0,4}`), rapid.String()).Draw(t, "name")
		if got, want := events.CheckUserName(name) == nil, form.MatchString(name) && len(name) <= events.MaxNameBytes; got != want {
			t.Fatalf("%q is a name: %v, want %v", name, got, want)
		}
	})
}

// TestPartitionIsFNV: stored subjects have it.
func TestPartitionIsFNV(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.String().Draw(t, "id")
		h := fnv.New32a()
		h.Write([]byte(id))
		if got, want := events.ExecutionPartition(id), int(h.Sum32()%events.ExecutionPartitions); got != want {
			t.Fatalf("%q is in partition %d, want %d", id, got, want)
		}
	})
}
