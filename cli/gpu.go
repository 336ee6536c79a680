package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/manifest"
)

// gpuFlag is what a run asks of GPUs. It may be given in several parts.
type gpuFlag struct {
	parts []string
	asked manifest.GPU
}

var _ pflag.Value = (*gpuFlag)(nil)

// flag gives a command the flag --gpu, with its completions.
func (f *gpuFlag) flag(cmd *cobra.Command, usage string) {
	cmd.Flags().Var(f, "gpu", usage)
	_ = cmd.RegisterFlagCompletionFunc("gpu", completeGPU)
}

// Set implements pflag.Value.
func (f *gpuFlag) Set(text string) error {
	parts := append(f.parts, text)
	asked, err := manifest.ParseGPU(strings.Join(parts, ","))
	if err == nil {
		f.parts, f.asked = parts, asked
	}
	return err
}

// String implements pflag.Value.
func (f *gpuFlag) String() string { return strings.Join(f.parts, ",") }

// Type implements pflag.Value.
func (f *gpuFlag) Type() string { return "gpu" }

// ask is what the server is told; nil if nothing was said.
func (f *gpuFlag) ask() *api.GPU {
	if f.parts == nil {
		return nil
	}
	ask := api.GPU(f.asked)
	return &ask
}

// completeGPU offers the keys that are not there yet, and the values of those that have few.
func completeGPU(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	before, last := "", word
	if i := strings.LastIndexByte(word, ','); i >= 0 {
		before, last = word[:i+1], word[i+1:]
	}
	if strings.HasPrefix(last, "share=") {
		return []string{before + "share=exclusive", before + "share=shared"}, noFiles
	}
	var offers []string
	for _, key := range manifest.GPUKeys() {
		if !strings.Contains(","+before, ","+key+"=") && strings.HasPrefix(key+"=", last) {
			offers = append(offers, before+key+"=")
		}
	}
	return offers, noFiles | cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveKeepOrder
}

// gpuOf is what an execution asks of GPUs; nil for none.
func gpuOf(r events.ExecutionRequested) *events.GPURequest {
	if r.GPU == nil && r.GPUs > 0 {
		return &events.GPURequest{Count: r.GPUs}
	}
	return r.GPU
}

// gpuText says it as --gpu takes it; empty for none.
func gpuText(r *events.GPURequest) string {
	if r == nil {
		return ""
	}
	return manifest.GPUText(*r)
}
