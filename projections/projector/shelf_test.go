package projector

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/projections"
)

// TestShelfIsAMap draws what is done to a shelf, and does the same to a map.
func TestShelfIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := newShelf()
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		want, ticked := map[string][]byte{}, map[string]bool{}
		keys := rapid.StringMatching(`[a-c]{1,3}`)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				// Some do not fit into what is read or written at once.
				value := bytes.Repeat([]byte{byte(rapid.IntRange(1, 9).Draw(t, "byte"))}, rapid.SampledFrom([]int{0, 3, recordGuess, 3 * recordGuess, 1 << 20}).Draw(t, "length"))
				if err := s.put(key, value); err != nil {
					t.Fatal(err)
				}
				want[key], ticked[key] = value, false
			},
			"delete": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				if err := s.delete(key); err != nil {
					t.Fatal(err)
				}
				delete(want, key)
			},
			"tick": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				if value, known := want[key]; s.tick(key, value) != known {
					t.Fatalf("%s is ticked off by its value: %v", key, !known)
				}
				if s.tick(key, append(want[key], 1)) {
					t.Fatalf("%s is ticked off by another value", key)
				}
				ticked[key] = true
			},
			"": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				got, err := s.get(key)
				if value, known := want[key]; err != nil || known != (got != nil) || !bytes.Equal(got, value) {
					t.Fatalf("%s: %.20q, %v, want %.20q", key, got, err, value)
				}
			},
		})
		var left, found []string
		for key := range want {
			if !ticked[key] {
				left = append(left, key)
			}
		}
		if s.left != len(left) {
			t.Fatalf("%d keys are not ticked off, it says %d", len(left), s.left)
		}
		if err := s.unticked(func(key string) error { found = append(found, key); return s.put("more", nil) }); err != nil {
			t.Fatal(err)
		}
		slices.Sort(left)
		if slices.Sort(found); !slices.Equal(found, left) {
			t.Fatalf("not ticked off: %v, want %v", found, left)
		}
	})
}

// TestFoldOnAShelf: what is at hand and what is on the shelf are one.
func TestFoldOnAShelf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, err := newFold(Options{Projection: projections.Projection{Decode: func(_ string, raw []byte) (any, error) { return projections.Text(raw), nil }}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		want := map[string]string{}
		keys := rapid.StringMatching(`[a-c]{1,2}`)
		check := func(key string, err error, got any, raw []byte) {
			value, known := want[key]
			if err != nil || known != (got != nil) || known && got != projections.Text(value) || string(raw) != value {
				t.Fatalf("%s: %v, %q, %v, want %q", key, got, raw, err, value)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				key, value := keys.Draw(t, "key"), fmt.Sprint(rapid.Uint16().Draw(t, "value"))
				f.Put(key, projections.Text(value))
				want[key] = value
			},
			"delete": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				f.Delete(key)
				delete(want, key)
			},
			"age":    func(t *rapid.T) { must(t, f.age()) },
			"settle": func(t *rapid.T) { must(t, f.settle()) },
			"": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				raw, rawErr := f.raw(key)
				raw = bytes.Clone(raw)
				got, err := f.Get(key)
				must(t, rawErr)
				check(key, err, got, raw)
			},
		})
	})
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

// TestShelfRefusesOneHash: a key that finds another's record says so.
func TestShelfRefusesOneHash(t *testing.T) {
	s, err := newShelf()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.put("one", []byte("1")); err != nil {
		t.Fatal(err)
	}
	s.at[maphash.String(s.seed, "two")] = s.at[maphash.String(s.seed, "one")] // as if the other had the same hash
	for name, err := range map[string]error{
		"put": s.put("two", nil), "delete": s.delete("two"),
	} {
		if !errors.Is(err, errOneHash) {
			t.Errorf("%s of another key's record: %v", name, err)
		}
	}
	if _, err := s.get("two"); !errors.Is(err, errOneHash) {
		t.Errorf("another key's record: %v", err)
	}
}
