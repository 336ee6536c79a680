package cli

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hermes-serverless/hermes/services/api"
)

func TestFlagGPUOfRun(t *testing.T) {
	for _, c := range []struct {
		args []string
		want *api.GPU
	}{
		{nil, nil},
		{[]string{"--gpu", "count=2,memory=8GiB,model=H100|A100"}, &api.GPU{Count: 2, MemoryBytes: 8 << 30, Models: []string{"H100", "A100"}}},
		{[]string{"--gpu", "share=shared", "--gpu=memory=1GiB"}, &api.GPU{MemoryBytes: 1 << 30, Share: "shared"}},
	} {
		var got *functionRunOptions
		parse(t, newFunctionRunCmd(testApp(), func(o *functionRunOptions) error { got = o; return nil }), append(c.args, "pi")...)
		if diff := cmp.Diff(c.want, got.gpu.ask()); diff != "" {
			t.Errorf("%v: %s", c.args, diff)
		}
	}
	for args, want := range map[string]string{
		"--gpu=2":                       `"2" must be KEY=VALUE`,
		"--gpu=count=2 --gpu=count=3":   "count is there twice",
		"--gpu=memory=8GiB,modle=H100 ": "modle is not a key; did you mean model?",
	} {
		cmd := newFunctionRunCmd(testApp(), func(*functionRunOptions) error { t.Errorf("%s is taken", args); return nil })
		cmd.SetArgs(append(strings.Fields(args), "pi"))
		cmd.SetErr(io.Discard)
		cmd.SetOut(io.Discard)
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), "--gpu: "+want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

func TestGPUCompletions(t *testing.T) {
	for word, want := range map[string][]string{
		"":                   {"count=", "memory=", "model=", "share=", "driver=", "idle="},
		"m":                  {"memory=", "model="},
		"memory=1GiB,m":      {"memory=1GiB,model="},
		"count=2,share=":     {"count=2,share=exclusive", "count=2,share=shared"},
		"count=2,driver=>=5": nil,
	} {
		if got, _ := completeGPU(nil, nil, word); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
