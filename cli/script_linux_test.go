package cli

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hermes-serverless/hermes/cli/natsctx"
	"github.com/hermes-serverless/hermes/services/api"
)

// TestScripts runs whole command lines as users type them. A script that needs a server starts
// hermesd in the background; it isolates nothing: what functions do is not what is tested here.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		// A script that hangs ends long before the tests' own time is over, and is shown.
		Deadline: time.Now().Add(15 * time.Minute),
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, ".config"))
			e.Setenv("TZ", "UTC")
			e.Setenv("USER", "tiago")
			e.Setenv("SUDO_USER", "")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"address":     setAddress,
			"cmpmasked":   cmpMasked,
			"exits":       exits,
			"fingerprint": fingerprint,
			"invite":      invite,
			"json":        jsonValue,
			"operate":     operate,
			"quota":       setQuota,
			"relayed":     relayed,
			"ready":       waitReady,
			"until":       until,
			"repeat":      repeat,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// exits runs a command and compares its exit code: exits 3 hermes …
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit interface{ ExitCode() int }
	if err != nil {
		var ok bool
		if exit, ok = err.(interface{ ExitCode() int }); !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if want, _ := strconv.Atoi(args[0]); code != want {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// invite has the operator invite somebody, and sets a variable to the token: invite VARIABLE [NAME]
func invite(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: invite VARIABLE [NAME]")
	}
	ask := api.UserInvite{ExpiresSeconds: 60}
	if len(args) > 1 {
		ask.User = args[1]
	}
	nc := operator(ts)
	defer nc.Close()
	made, err := api.Ask[api.Invited](context.Background(), nc, api.AdminSubject("root", api.OpUserInvite), ask)
	ts.Check(err)
	ts.Setenv(args[0], made.Token)
}

// operate has the operator do something with a user: operate user.disable NAME
func operate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: operate OPERATION USER")
	}
	nc := operator(ts)
	defer nc.Close()
	_, err := api.Ask[api.User](context.Background(), nc, api.AdminSubject("root", args[0]), api.UserRef{User: args[1]})
	ts.Check(err)
}

// operator connects as the operator does.
func operator(ts *testscript.TestScript) *nats.Conn {
	c, err := natsctx.Load(ts.Getenv("XDG_CONFIG_HOME"), "hermes-operator")
	ts.Check(err)
	options, err := c.Options()
	ts.Check(err)
	nc, err := nats.Connect(c.URL, options...)
	ts.Check(err)
	return nc
}

// setQuota has the operator bound the user tiago, in the words of api.UserQuota: quota [NAME NUMBER]…
func setQuota(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args)%2 != 0 {
		ts.Fatalf("usage: quota [NAME NUMBER]…")
	}
	ask := api.UserQuota{User: "tiago", Set: map[string]int64{}}
	for i := 0; i < len(args); i += 2 {
		n, err := strconv.ParseInt(args[i+1], 10, 64)
		ts.Check(err)
		ask.Set[args[i]] = n
	}
	nc := operator(ts)
	defer nc.Close()
	_, err := api.Ask[api.Quotas](context.Background(), nc, api.AdminSubject("root", api.OpUserQuota), ask)
	ts.Check(err)
}

// fingerprint sets a variable to what an operator tells of a certificate: fingerprint VARIABLE FILE
func fingerprint(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fingerprint VARIABLE FILE")
	}
	block, _ := pem.Decode([]byte(ts.ReadFile(args[1])))
	if block == nil {
		ts.Fatalf("%s is no certificate", args[1])
	}
	ts.Setenv(args[0], fmt.Sprintf("sha256:%x", sha256.Sum256(block.Bytes)))
}

// until repeats a command until its stdout matches: until PATTERN hermes …
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN COMMAND…")
	}
	pattern := regexp.MustCompile(args[0])
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		_ = ts.Exec(args[1], args[2:]...)
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("no output matched %s; the last was %q", args[0], ts.ReadFile("stdout"))
}

// repeat writes a text many times into a file: repeat FILE TEXT COUNT
func repeat(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: repeat FILE TEXT COUNT")
	}
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Repeat(args[1], n)), 0o600))
}

// waitReady waits until the server in the background can be used.
func waitReady(ts *testscript.TestScript, _ bool, _ []string) {
	if !serverReady(ts.Getenv("XDG_CONFIG_HOME")) {
		ts.Fatalf("the server did not start")
	}
}

// serverReady waits until the server can be used: it writes the context last.
func serverReady(config string) bool {
	file := filepath.Join(config, "nats", "context", defaultContext+".json")
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if raw, err := os.ReadFile(file); err == nil && json.Valid(raw) {
			return true
		}
	}
	return false
}

var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\d\d/\d\d \d\d:\d\d:\d\d\.\d{3}`), "<time>"},
	{regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`), "<elapsed>"},
	{regexp.MustCompile(`(?m)^cpuModel .*\n`), ""}, // not every machine tells
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)`), "<time>"},
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "<digest>"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "<digest>"},
	{regexp.MustCompile(`\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b`), "<id>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(µs|ms|s)\b`), "<duration>"},
	{regexp.MustCompile(`\b\d+(\.\d+)? [KMGT]?i?B\b`), "<size>"},
	{regexp.MustCompile(` +`), " "},
	{regexp.MustCompile(` *\n`), "\n"},
}

// cmpMasked compares stdout or stderr with a file after times, ids and digests are masked and
// runs of spaces, whose width depends on them, are one.
func cmpMasked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cmpmasked stdout|stderr FILE")
	}
	got, want := ts.ReadFile(args[0]), ts.ReadFile(args[1])
	for _, m := range masks {
		got = m.pattern.ReplaceAllString(got, m.with)
	}
	want = regexp.MustCompile(` +`).ReplaceAllString(want, " ")
	if got != want {
		ts.Fatalf("%s, masked, is\n%s\nwant\n%s", args[0], got, want)
	}
}

// jsonValue checks that a stream is one JSON value, and what stands in it:
// json stdout [PATH WANT]… with PATH like runID or 0.function; WANT * is anything but nothing.
func jsonValue(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args)%2 != 1 {
		ts.Fatalf("usage: json stdout|stderr [PATH WANT]…")
	}
	var value any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &value); err != nil {
		ts.Fatalf("%s is not one JSON value: %v\n%s", args[0], err, ts.ReadFile(args[0]))
	}
	for i := 1; i < len(args); i += 2 {
		got := at(value, args[i])
		if text := fmt.Sprint(got); text != args[i+1] && (args[i+1] != "*" || got == nil) {
			ts.Fatalf("%s is %v, want %s", args[i], text, args[i+1])
		}
	}
}

func at(value any, path string) any {
	for _, key := range strings.Split(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}
