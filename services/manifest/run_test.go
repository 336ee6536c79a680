package manifest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArgsAndEnv(t *testing.T) {
	m, err := Parse([]byte(with(`"args": ["-n", "", "two words", "$HOME"], "env": {"LEVEL": "3", "_x9": "", "PATH": "/bin", "HERMES": "é\n"}`)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"-n", "", "two words", "$HOME"}, m.Config.Args); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"LEVEL": "3", "_x9": "", "PATH": "/bin", "HERMES": "é\n"}, m.Config.Env); diff != "" {
		t.Error(diff)
	}
	m, err = Parse([]byte(with(`"args": [], "env": {}`)))
	if err != nil || m.Config.Args != nil || m.Config.Env != nil {
		t.Errorf("empty ones are %#v, %#v, %v", m.Config.Args, m.Config.Env, err)
	}
}

func TestEachWrongArgumentAndVariableIsNamedOnItsLine(t *testing.T) {
	_, err := Parse([]byte(with(`"args": [
  "good", 5,
  [1, "]"],
  "a\u0000b"
],
"env": {
  "GOOD": "1",
  "LEVEL"
    : 3, "9LIVES": "x",
  "": "", "a-b": "x", "é": "x", "A\n": "",
  "HERMES_EXECUTION": "1",
  "GOOD": "2",
  "NUL": "\u0000"
},
"pids": -1`)))
	want := `hermes.config.json:9: args: argument 2 must be a string, is a number
hermes.config.json:10: args: argument 3 must be a string, is a list
hermes.config.json:11: args: argument 4 has a NUL character in it
hermes.config.json:15: env: LEVEL must be a string, is a number
hermes.config.json:16: env: "9LIVES" names no variable; allowed are letters, digits and "_", and no digit first
hermes.config.json:17: env: "" names no variable; allowed are letters, digits and "_", and no digit first
hermes.config.json:17: env: "a-b" names no variable; allowed are letters, digits and "_", and no digit first
hermes.config.json:17: env: "é" names no variable; allowed are letters, digits and "_", and no digit first
hermes.config.json:17: env: "A\n" names no variable; allowed are letters, digits and "_", and no digit first
hermes.config.json:18: env: HERMES_EXECUTION cannot be set; names that begin with HERMES_ are Hermes' own
hermes.config.json:19: env: GOOD is there twice
hermes.config.json:20: env: NUL has a NUL character in it
hermes.config.json:22: pids: -1 must be a whole number from 1 to 4194304`
	if err == nil {
		t.Fatal("it is taken")
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(err.Error(), "\n")); diff != "" {
		t.Fatal(diff)
	}
}

func TestArgsAndEnvAreBounded(t *testing.T) {
	args := func(n int, arg string) string {
		return `"args": [` + strings.TrimSuffix(strings.Repeat(`"`+arg+`",`, n), ",") + `]`
	}
	env := func(n int, value string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `, "V%d": "%s"`, i, value)
		}
		return `"env": {` + strings.TrimPrefix(b.String(), ",") + `}`
	}
	half := strings.Repeat("x", maxRunBytes/2)
	for name, c := range map[string]struct{ line, want string }{
		"as many as may be": {args(256, "a") + "," + env(256, "b"), ""},
		"as much as may be": {args(1, strings.Repeat("x", maxRunBytes-11)), ""},
		"args":              {args(257, "a"), "args: has 257 arguments; at most 256 are allowed"},
		"env":               {env(257, "a"), "env: has 257 variables; at most 256 are allowed"},
		"both": {args(1, half) + "," + env(1, half),
			"env: args and env take 65552 bytes together as JSON; at most 65536 are allowed"},
		"as it is stored": {env(1, strings.Repeat("<", maxRunBytes/6)), "env: args and env take 65548 bytes together as JSON; at most 65536 are allowed"},
	} {
		_, err := Parse([]byte(with(c.line)))
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.want != "" && (err == nil || err.Error() != "hermes.config.json:8: "+c.want) {
			t.Errorf("%s:\n got %v\nwant %s", name, err, c.want)
		}
	}
}

func TestNetwork(t *testing.T) {
	for text, c := range map[string]struct {
		network string
		line    int
		wrong   string
	}{
		`"network": "none"`:                {"", 0, ""},
		`"pids": 7, "network": "outbound"`: {"outbound", 8, ""},
		`"pids": 7`:                        {"", 0, ""},
		`"network": "host"`:                {"", 0, `hermes.config.json:8: network: "host" must be none or outbound`},
		`"network": true`:                  {"", 0, "hermes.config.json:8: network: must be a string, is a boolean"},
		`"network": ""`:                    {"", 0, `hermes.config.json:8: network: "" must be none or outbound`},
	} {
		m, err := Parse([]byte(with(text)))
		if c.wrong != "" && (err == nil || err.Error() != c.wrong) {
			t.Errorf("%s: %v, want %s", text, err, c.wrong)
		}
		if c.wrong == "" && (err != nil || m.Config.Network != c.network || m.NetworkLine != c.line) {
			t.Errorf("%s: %q on line %d, %v", text, m.Config.Network, m.NetworkLine, err)
		}
	}
}
