package manifest

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hermes-serverless/hermes/events"
)

const old = `{ "functionName": "pi-montecarlo", "language": "cpp", "gpuCapable": false,
  "scope": "public", "functionVersion": "1.0.12", "handler": "./a.out" }`

func TestOldFilesWorkUnchanged(t *testing.T) {
	got, err := Parse([]byte(old))
	if err != nil {
		t.Fatal(err)
	}
	want := Manifest{Name: "pi-montecarlo", Version: "1.0.12",
		Config: events.FunctionConfig{Language: "cpp", Scope: "public", Handler: "a.out"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

// with returns a good file with one more line, which is line 8, or with a key changed there.
func with(line string) string {
	return "{\n\"functionName\": \"pi\",\n\"language\": \"cuda\",\n\"gpuCapable\": true,\n" +
		"\"functionVersion\": \"1.0.0\",\n\"handler\": \"bin/run\"\n,\n" + line + "}"
}

func TestOptionalKeys(t *testing.T) {
	for line, want := range map[string]events.Limits{
		`"timeout": "10m"`:     {TimeoutMillis: 600_000},
		`"timeout": 1.5`:       {TimeoutMillis: 1500},
		`"memory": "512MiB"`:   {MemoryBytes: 512 << 20},
		`"memory": "2GiB"`:     {MemoryBytes: 2 << 30},
		`"memory": "10MB"`:     {MemoryBytes: 10_000_000},
		`"memory": 1073741824`: {MemoryBytes: 1 << 30},
		`"cpus": 0.5`:          {CPUMillis: 500},
		`"pids": 1`:            {PIDs: 1},
		`"pids": 4e3`:          {PIDs: 4000},
		`"tmp": "256MiB"`:      {TmpBytes: 256 << 20},
		`"tmp": 4096`:          {TmpBytes: 4096},
		`"results": "64MiB"`:   {ResultsBytes: 64 << 20},
		`"output": "64MiB"`:    {OutputBytes: 64 << 20},
		`"cpus": 2, "timeout": 1, "memory": "1gb"`: {CPUMillis: 2000, TimeoutMillis: 1000, MemoryBytes: 1_000_000_000},
	} {
		got, err := Parse([]byte(with(line)))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if got.Config.Limits != want {
			t.Errorf("%s: got %+v, want %+v", line, got.Config.Limits, want)
		}
		if got.Config.Scope != "private" {
			t.Errorf("scope is %q without the key", got.Config.Scope)
		}
	}
}

func TestSandbox(t *testing.T) {
	for line, want := range map[string]bool{`"sandbox": "reuse"`: true, `"sandbox": "single"`: false, `"pids": 9`: false} {
		if got, err := Parse([]byte(with(line))); err != nil || got.Config.ReuseSandbox != want {
			t.Errorf("%s: reuse is %t, %v", line, got.Config.ReuseSandbox, err)
		}
	}
}

func TestProblemsAreNamedWithTheirLine(t *testing.T) {
	for line, want := range map[string]string{
		`"timeout": "10 minutes"`: `hermes.config.json:8: timeout: "10 minutes" must be a duration, like "10m" or "1h30m"`,
		`"timeout": -1`:           `hermes.config.json:8: timeout: -1 must be from 1ms to 87600h0m0s`,
		`"timeout": 1e300`:        `hermes.config.json:8: timeout: 1e300 must be from 1ms to 87600h0m0s`,
		`"timeout": true`:         `hermes.config.json:8: timeout: must be a duration like "10m", or seconds as a number; is a boolean`,
		`"memory": "512"`:         `hermes.config.json:8: memory: "512" must be whole bytes from 6.0 MiB to 1.0 PiB`,
		`"memory": "many"`:        `hermes.config.json:8: memory: "many" must be a size, like "512MiB" or "2GiB"`,
		`"cpus": "2"`:             `hermes.config.json:8: cpus: must be a number, like 2 or 0.5; is a string`,
		`"cpus": 0`:               `hermes.config.json:8: cpus: 0 must be from 0.01 to 100000`,
		`"pids": 0`:               `hermes.config.json:8: pids: 0 must be a whole number from 1 to 4194304`,
		`"pids": 1.5`:             `hermes.config.json:8: pids: 1.5 must be a whole number from 1 to 4194304`,
		`"pids": "many"`:          `hermes.config.json:8: pids: must be a number, like 256; is a string`,
		`"tmp": "256"`:            `hermes.config.json:8: tmp: "256" must be whole bytes from 4.0 KiB to 1.0 PiB`,
		`"results": 1`:            `hermes.config.json:8: results: 1 must be whole bytes from 4.0 KiB to 1.0 PiB`,
		`"tmp": []`:               `hermes.config.json:8: tmp: must be a size like "512MiB", or bytes as a number; is a list`,
		`"output": "10"`:          `hermes.config.json:8: output: "10" must be whole bytes from 1.0 KiB to 1.0 PiB`,
		`"args": "-v"`:            `hermes.config.json:8: args: must be a list like ["--depth", "3"], is a string`,
		`"sandbox": "fresh"`:      `hermes.config.json:8: sandbox: "fresh" must be single or reuse`,
		`"env": ["A=1"]`:          `hermes.config.json:8: env: must be an object like {"LEVEL": "3"}, is a list`,
		`"env": null`:             `hermes.config.json:8: env: must be an object like {"LEVEL": "3"}, is null`,
		`"base": "a.b"`:           `hermes.config.json:8: base: base name "a.b": allowed are lower-case letters, digits and "_", then also "-"`,
		`"base": 5`:               `hermes.config.json:8: base: must be a string, is a number`,
		`"envs": {}`:              `hermes.config.json:8: envs: is not a key; did you mean env?`,
		`"scope": "open"`:         `hermes.config.json:8: scope: "open" must be public or private`,
		`"scope": null`:           `hermes.config.json:8: scope: must be a string, is null`,
		`"memroy": "1GiB"`:        `hermes.config.json:8: memroy: is not a key; did you mean memory?`,
		`"Timeout": "1m"`:         `hermes.config.json:8: Timeout: is not a key; did you mean timeout?`,
		`"handler": "x"`:          `hermes.config.json:8: handler: is there twice, first on line 6`,
		`"zzz": {"a": [1]}`: `hermes.config.json:8: zzz: is not a key; the keys are functionName, language, ` +
			`gpuCapable, scope, functionVersion, handler, timeout, memory, cpus, pids, tmp, output, results, args, env, sandbox, base, network, gpu`,
	} {
		_, err := Parse([]byte(with(line)))
		if err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", line, err, want)
		}
	}
}

func TestBase(t *testing.T) {
	for line, want := range map[string]string{`"base": "gcc-14"`: "gcc-14", `"base": "host"`: "host", `"pids": 9`: ""} {
		m, err := Parse([]byte(with(line)))
		if err != nil || m.Base != want {
			t.Errorf("%s: base %q, %v", line, m.Base, err)
		}
		raw, err := Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Parse(raw); err != nil || again.Base != want {
			t.Errorf("%s: written as %s and read as %q, %v", line, raw, again.Base, err)
		}
	}
}

func TestHandlerStaysInsideTheFolder(t *testing.T) {
	for in, want := range map[string]string{"./a.out": "a.out", "bin//x": "bin/x", "a/../b": "b", "..a": "..a"} {
		if got, err := cleanHandler(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", ".", "./", "..", "../x", "a/../../x", "/bin/sh", `a\b`, "a\x00", "bin/", "./.", strings.Repeat("<", maxHandlerBytes+1)} {
		if got, err := cleanHandler(in); err == nil {
			t.Errorf("%q is allowed as %q", in, got)
		}
	}
}

func TestEveryProblemAtOnceByLine(t *testing.T) {
	_, err := Parse([]byte("{\"gpuCapable\": 1,\n\"language\": \"go\",\n\n\"functionVersion\": \"1.0\",\n\"functionName\": \"A\"}"))
	want := "hermes.config.json: handler: is missing, like \"handler\": \"./a.out\"\n" +
		"hermes.config.json:1: gpuCapable: must be true or false, is a number\n" +
		"hermes.config.json:2: language: \"go\" must be cpp or cuda\n" +
		"hermes.config.json:4: functionVersion: \"1.0\" must be three numbers, like 1.0.0\n" +
		"hermes.config.json:5: functionName: function name \"A\": allowed are lower-case letters, digits and \"_\", then also \"-\""
	if err == nil || err.Error() != want {
		t.Fatalf("got\n%v\nwant\n%s", err, want)
	}
}

func TestAFileOfMistakesHasAShortError(t *testing.T) {
	var file strings.Builder
	file.WriteString("{")
	for i := range 5000 {
		fmt.Fprintf(&file, "%q: 1,\n", fmt.Sprint("key", i))
	}
	file.WriteString(`"functionName": 1}`)
	_, err := Parse([]byte(file.String()))
	if err == nil || len(err.Error()) > 16<<10 || !strings.HasSuffix(err.Error(), " more") {
		t.Errorf("an error of %d bytes", len(fmt.Sprint(err)))
	}
}

func TestWhatIsNotAnObject(t *testing.T) {
	for in, want := range map[string]string{
		"":              "hermes.config.json:1: is not JSON: column 1: unexpected end of JSON input",
		"{\n \"a\": 1,": "hermes.config.json:2: is not JSON: column 8: unexpected end of JSON input",
		"{\n \"a\" 1}":  "hermes.config.json:2: is not JSON: column 6: invalid character '1' after object key",
		"{} {}":         "hermes.config.json:1: is not JSON: column 4: invalid character '{' after top-level value",
		"[1]":           "hermes.config.json:1: must be an object in { }, is a list",
		"null":          "hermes.config.json:1: must be an object in { }, is null",
	} {
		if _, err := Parse([]byte(in)); err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", in, err, want)
		}
	}
}

func TestMarshalIsReadBack(t *testing.T) {
	want := Manifest{Name: "pi", Version: "1.2.3", Config: events.FunctionConfig{
		Language: "cuda", GPUCapable: true, Scope: "private", Handler: "bin/pi",
		Limits: events.Limits{TimeoutMillis: 90_500, MemoryBytes: 10_000_001, CPUMillis: 1500, PIDs: 7, TmpBytes: 3 << 20, OutputBytes: 5000, ResultsBytes: 7000},
		Args:   []string{"", "<two words>", "\x01\u2028é"},
		Env:    map[string]string{"PATH": "/bin", "_a1": "", "B": "x=\"y\"\n"},

		ReuseSandbox: true,
	}}
	raw, err := Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(raw)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	var e *Error
	if _, err := Marshal(Manifest{Name: "pi"}); !errors.As(err, &e) {
		t.Fatalf("a manifest without a version is written: %v", err)
	}
}

func TestLimitsAreSaidAsTheFileTakesThem(t *testing.T) {
	for got, want := range map[string]string{
		TimeoutText(600_000): "10m", TimeoutText(3_600_000): "1h", TimeoutText(36_000_000): "10h",
		TimeoutText(5_410_500): "1h30m10.5s", TimeoutText(1): "1ms", TimeoutText(30_000): "30s",
		SizeText(512 << 20): "512MiB", SizeText(3 << 30): "3GiB", SizeText(10_000_001): "10000001",
		CPUsText(1500): "1.5", CPUsText(2000): "2", CPUsText(10): "0.01",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(old))
	f.Add([]byte(with(`"timeout": "1m", "memory": "1GiB", "cpus": 1`)))
	f.Add([]byte(with(`"pids": 9, "tmp": "1MiB", "args": ["a", "<", ""], "env": {"A": "1", "_b": "\u2028"}, "sandbox": "reuse"`)))
	f.Add([]byte(with(`"gpu": {"count": 2, "memory": "8GiB", "model": ["H100"], "share": "shared", "driver": ">=550, <560", "idle": {"below": 5, "for": "10m"}}`)))
	f.Add([]byte("\uFEFF{\"functionName\": [}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := Parse(raw)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || len(e.Problems) == 0 {
				t.Fatalf("not a named error: %v", err)
			}
			return
		}
		if filepath.IsAbs(m.Config.Handler) || !filepath.IsLocal(m.Config.Handler) {
			t.Fatalf("handler %q", m.Config.Handler)
		}
		if len(raw) > MaxBytes/8 {
			return // another way of writing it may be too long
		}
		out, err := Marshal(m)
		if err != nil {
			t.Fatalf("%+v is parsed but not written: %v", m, err)
		}
		again, err := Parse(out)
		if diff := cmp.Diff(m, again); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	})
}
