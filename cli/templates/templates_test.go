package templates

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTemplatesBuildAndRun builds each template as the server does, refuses warnings, and runs it.
func TestTemplatesBuildAndRun(t *testing.T) {
	compilers := map[string]string{"cpp": "g++", "cuda": "nvcc"}
	runs := map[string]struct{ input, want string }{
		"cpp":           {"hello\n", "hello\n"},
		"pi-montecarlo": {"100000", "3.1"},
		"waiter":        {"0.01 0.03", "0.01 s of 0.03 s\n0.02 s of 0.03 s\n"},
		"char-printer":  {"x 100000", strings.Repeat("x", 100000)},
		"reduce-sum":    {"1 2.5\n-0.5", "3\n"},
	}
	for _, template := range All() {
		t.Run(template.Name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(compilers[template.Language]); err != nil {
				t.Skipf("%s is not installed", compilers[template.Language])
			}
			dir := t.TempDir()
			if err := template.Write(dir); err != nil {
				t.Fatal(err)
			}
			run(t, dir, "", "make", "clean")
			if out := run(t, dir, "", "make"); strings.Contains(strings.ToLower(out), "warning") {
				t.Errorf("the compiler warns:\n%s", out)
			}
			if r, ok := runs[template.Name]; ok {
				if got := run(t, dir, r.input, "./a.out"); !strings.HasPrefix(got, r.want) {
					t.Errorf("printed %.100q, want %.100q", got, r.want)
				}
			}
			run(t, dir, "", "make", "clean")
			if _, err := os.Stat(filepath.Join(dir, "a.out")); err == nil {
				t.Error("make clean left a.out")
			}
		})
	}
}

func TestBadInputIsRefused(t *testing.T) {
	if _, err := exec.LookPath("g++"); err != nil {
		t.Skip("g++ is not installed")
	}
	for _, name := range []string{"pi-montecarlo", "waiter", "char-printer", "reduce-sum"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			template, _ := Get(name)
			dir := t.TempDir()
			if err := template.Write(dir); err != nil {
				t.Fatal(err)
			}
			run(t, dir, "", "make")
			cmd := exec.Command(filepath.Join(dir, "a.out"))
			cmd.Stdin = strings.NewReader("nonsense")
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "input") {
				t.Errorf("%v, printed %q", err, out)
			}
		})
	}
}

func TestEveryTemplateIsWhole(t *testing.T) {
	for _, template := range All() {
		dir := t.TempDir()
		if err := template.Write(dir); err != nil {
			t.Error(err)
		}
		source := map[string]string{"cpp": "main.cpp", "cuda": "main.cu"}[template.Language]
		for _, file := range []string{"Makefile", ".hermesignore", source} {
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
				t.Errorf("%s: %v", template.Name, err)
			}
		}
	}
}

func run(t *testing.T, dir, input string, command ...string) string {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
	return string(out)
}
