package events_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
)

var update = flag.Bool("update", false, "write the golden files anew; for types and fields that are new only")

var at = time.Date(2026, 11, 24, 12, 0, 0, 123456000, time.UTC)

// goldens are samples of every type by the names of their files: as its events were first stored,
// and, in a folder for each generation of later fields, with those.
func goldens() map[string]events.Data {
	all := map[string]events.Data{}
	for _, d := range empty {
		name := string(d.Type()) + ".json"
		before := full(d, since(0)...)
		all[name] = before
		for i := range later {
			if now := full(d, since(i+1)...); !reflect.DeepEqual(now, before) {
				all[filepath.Join(fmt.Sprintf("later%d", i+1), name)] = now
				before = now
			}
		}
	}
	return all
}

// TestGolden freezes the bytes of every type. A difference means that stored events would no
// longer be read as they were meant: make a new version of the type instead.
func TestGolden(t *testing.T) {
	for name, want := range goldens() {
		t.Run(name, func(t *testing.T) {
			m, err := events.Encode(events.Event{ID: "id", Source: "test", Time: at, Data: want})
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "golden", name)
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, append(m.Data, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("every type needs a golden file (-update writes it): %v", err)
			}
			golden = bytes.TrimSuffix(golden, []byte("\n"))
			if !bytes.Equal(m.Data, golden) {
				t.Errorf("encoded as\n%s\nwant\n%s", m.Data, golden)
			}
			m.Data = golden
			got, err := events.Decode(m)
			if err != nil || !reflect.DeepEqual(got.Data, want) {
				t.Errorf("decoded as %+v, %v, want %+v", got.Data, err, want)
			}
		})
	}
}

func TestGoldenFilesAllHaveATypes(t *testing.T) {
	first, err := filepath.Glob(filepath.Join("testdata", "golden", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	added, err := filepath.Glob(filepath.Join("testdata", "golden", "later*", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != len(events.Types()) || len(first)+len(added) != len(goldens()) {
		t.Errorf("%d and %d golden files of %d types: a type that was ever stored must stay readable", len(first), len(added), len(events.Types()))
	}
}

func TestHeaders(t *testing.T) {
	m, err := events.Encode(events.Event{
		ID: "01JDY3M8WZ0000000000000000", Source: "orchestrator",
		Time: at.In(time.FixedZone("", 3600)), Data: events.WatcherLeft{},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"ce-id": "01JDY3M8WZ0000000000000000", "Nats-Msg-Id": "01JDY3M8WZ0000000000000000",
		"ce-type": "io.hermes.watcher.v1.left", "ce-source": "orchestrator",
		"ce-time": "2026-11-24T12:00:00.123456Z", "ce-specversion": "1.0",
	}
	if !reflect.DeepEqual(m.Header, want) || string(m.Data) != "{}" {
		t.Errorf("encoded as %v %s, want %v {}", m.Header, m.Data, want)
	}
	want["ce-by"] = "root"
	m, err = events.Encode(events.Event{ID: want["ce-id"], Source: "orchestrator", By: "root", Time: at, Data: events.WatcherLeft{}})
	if err != nil || !reflect.DeepEqual(m.Header, want) {
		t.Errorf("asked for by root: encoded as %v, %v, want %v", m.Header, err, want)
	}
}

func TestDecodeIsTheInverseOfEncode(t *testing.T) {
	for _, d := range empty {
		t.Run(string(d.Type()), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := events.Event{
					ID:     rapid.StringMatching(`[0-9A-Z]{1,26}`).Draw(t, "id"),
					Source: "test",
					By:     rapid.SampledFrom([]string{"", "ana", "root"}).Draw(t, "by"),
					Time:   time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "micros")).UTC(),
					Data:   filled(d, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "field") }),
				}
				m, err := events.Encode(want)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := events.Decode(m); err != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("decoded as %+v, %v, want %+v", got, err, want)
				}
			})
		})
	}
}

type unregistered struct{}

func (unregistered) Type() events.Type { return "io.hermes.secret.v1.known" }

func TestEncodeRefuses(t *testing.T) {
	good := events.Event{ID: "id", Source: "test", Time: at, Data: events.WatcherLeft{}}
	for name, e := range map[string]events.Event{
		"no data":      {ID: "id", Source: "test"},
		"no id":        {Source: "test", Data: good.Data},
		"no source":    {ID: "id", Data: good.Data},
		"unregistered": {ID: "id", Source: "test", Data: unregistered{}},
	} {
		if m, err := events.Encode(e); err == nil {
			t.Errorf("%s: encoded as %v", name, m)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, change := range map[string]func(*events.Message){
		"no id":           func(m *events.Message) { delete(m.Header, events.HeaderID) },
		"no source":       func(m *events.Message) { delete(m.Header, events.HeaderSource) },
		"no time":         func(m *events.Message) { delete(m.Header, events.HeaderTime) },
		"bad time":        func(m *events.Message) { m.Header[events.HeaderTime] = "yesterday" },
		"unknown field":   func(m *events.Message) { m.Data = []byte(`{"reason":"x","mood":"good"}`) },
		"wrong type":      func(m *events.Message) { m.Data = []byte(`{"reason":5}`) },
		"two values":      func(m *events.Message) { m.Data = []byte(`{"reason":"x"}{}`) },
		"trailing":        func(m *events.Message) { m.Data = []byte(`{"reason":"x"} x`) },
		"null":            func(m *events.Message) { m.Data = []byte(`null`) },
		"a list":          func(m *events.Message) { m.Data = []byte(`[]`) },
		"empty":           func(m *events.Message) { m.Data = nil },
		"unknown version": func(m *events.Message) { m.Header[events.HeaderType] = "io.hermes.watcher.v2.draining" },
		"no type":         func(m *events.Message) { delete(m.Header, events.HeaderType) },
	} {
		m, err := events.Encode(events.Event{ID: "id", Source: "test", Time: at, Data: events.WatcherDraining{Reason: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		change(&m)
		got, err := events.Decode(m)
		if err == nil {
			t.Errorf("%s: decoded as %+v", name, got)
		}
		var unknown *events.UnknownTypeError
		if errors.As(err, &unknown) != (strings.HasPrefix(name, "unknown version") || name == "no type") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecode: what Decode lets in can be encoded, and then it is the same for ever.
func FuzzDecode(f *testing.F) {
	types := events.Types()
	for i, typ := range types {
		for _, d := range empty {
			if d.Type() != typ {
				continue
			}
			for _, sample := range []events.Data{d, full(d)} {
				m, err := events.Encode(events.Event{ID: "id", Source: "test", Time: at, Data: sample})
				if err != nil {
					f.Fatal(err)
				}
				f.Add(i, "id", "test", m.Header[events.HeaderTime], m.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, typ int, id, source, when string, data []byte) {
		if typ < 0 || typ >= len(types) {
			return
		}
		first, err := events.Decode(events.Message{Header: map[string]string{
			events.HeaderType: string(types[typ]), events.HeaderID: id, events.HeaderSource: source, events.HeaderTime: when,
		}, Data: data})
		if err != nil {
			return
		}
		m, err := events.Encode(first)
		if err != nil {
			t.Fatalf("decoded %+v, and cannot encode it: %v", first, err)
		}
		second, err := events.Decode(m)
		if err != nil {
			t.Fatalf("encoded %s, and cannot decode it: %v", m.Data, err)
		}
		again, err := events.Encode(second)
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("encoded as %v %s, then as %v %s, %v", m.Header, m.Data, again.Header, again.Data, err)
		}
	})
}
