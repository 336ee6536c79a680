package cli

import (
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/cli/iostreams"
	"github.com/hermes-serverless/hermes/events"
)

// parse runs one command with its own run function replaced: only the flags are tested.
func parse(t *testing.T, cmd *cobra.Command, args ...string) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	cmd.SetArgs(append([]string{}, args...)) // of nil, cobra would make those of this process
	if err := cmd.Execute(); err != nil {
		t.Errorf("%v: %v", args, err)
	}
}

func testApp() *app { return newApp(&iostreams.Streams{}) }

func TestFlagsOfRun(t *testing.T) {
	for _, args := range [][]string{
		{"ana/pi:1.0.0", "-a", "-f", "points.txt", "--timeout", "90s"},
		{"--async", "--file", "points.txt", "--timeout=1m30s", "ana/pi:1.0.0"},
	} {
		var got *functionRunOptions
		parse(t, newFunctionRunCmd(testApp(), func(o *functionRunOptions) error { got = o; return nil }), args...)
		want := events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}
		if got == nil || !got.async || got.file != "points.txt" || got.timeout != 90*time.Second || got.ref != want {
			t.Errorf("%v became %+v", args, got)
		}
	}
}

func TestFlagsOfDeployAndBuild(t *testing.T) {
	var deploy *functionDeployOptions
	parse(t, newFunctionDeployCmd(testApp(), func(o *functionDeployOptions) error { deploy = o; return nil }), "-u")
	if !deploy.update || deploy.dir != "." {
		t.Errorf("deploy -u became %+v", deploy)
	}
	var build *functionBuildOptions
	parse(t, newFunctionBuildCmd(testApp(), func(o *functionBuildOptions) error { build = o; return nil }), "pi")
	if build.dir != "pi" {
		t.Errorf("build pi became %+v", build)
	}
}

func TestFlagsOfInit(t *testing.T) {
	var got *functionInitOptions
	run := func(o *functionInitOptions) error { got = o; return nil }
	parse(t, newFunctionInitCmd(testApp(), run), "dir", "--name", "pi", "--language", "cuda", "--gpu=false", "--scope", "public")
	if got.parent != "dir" || got.name != "pi" || got.language != "cuda" || got.gpu || !got.gpuSet || got.scope != "public" {
		t.Errorf("init became %+v", got)
	}
	parse(t, newFunctionInitCmd(testApp(), run))
	if got.parent != "." || got.gpuSet || got.scope != "private" {
		t.Errorf("init alone became %+v", got)
	}
}

func TestFlagsOfExecutions(t *testing.T) {
	var inspect *executionInspectOptions
	parse(t, newExecutionInspectCmd(testApp(), func(o *executionInspectOptions) error { inspect = o; return nil }), "15", "-r")
	if inspect.ref.Number != 15 || !inspect.result {
		t.Errorf("inspect 15 -r became %+v", inspect)
	}
	var logs *executionLogsOptions
	parse(t, newExecutionLogsCmd(testApp(), func(o *executionLogsOptions) error { logs = o; return nil }), "-f", "01m86zjcxevbby1kemczmy20vt")
	if logs.ref.ID != "01M86ZJCXEVBBY1KEMCZMY20VT" || !logs.follow {
		t.Errorf("logs -f became %+v", logs)
	}
	var remove *functionDeleteOptions
	parse(t, newFunctionDeleteCmd(testApp(), func(o *functionDeleteOptions) error { remove = o; return nil }), "pi", "1.0.0")
	if remove.ref.Name != "pi" || remove.ref.Version != "1.0.0" {
		t.Errorf("delete pi 1.0.0 became %+v", remove)
	}
	var list *executionListOptions
	parse(t, newExecutionListCmd(testApp(), func(o *executionListOptions) error { list = o; return nil }), "--limit", "5", "--before", "9")
	if list.limit != 5 || list.before != 9 {
		t.Errorf("list became %+v", list)
	}
}

// TestEveryCommandHasHelp keeps the promise that each has a sentence and an example.
func TestEveryCommandHasHelp(t *testing.T) {
	var check func(*cobra.Command)
	check = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" && cmd.Runnable() {
			t.Errorf("%s lacks help or an example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	check(newRootCmd(testApp()))
}
