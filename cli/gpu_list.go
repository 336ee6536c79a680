package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

func newGPUCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "gpu",
		Short:   "See the GPUs of the fleet",
		Example: "  hermes gpu list",
	}
	cmd.AddCommand(newGPUListCmd(a, nil))
	return cmd
}

type gpuListOptions struct {
	app *app
	ctx context.Context
}

func newGPUListCmd(a *app, run func(*gpuListOptions) error) *cobra.Command {
	if run == nil {
		run = runGPUList
	}
	return &cobra.Command{
		Use:   "list",
		Short: "List the GPUs of the fleet: what they are, who uses them, and how much waits for them",
		Long: `Lists every GPU of the fleet, and of those that are partitioned the MIG instances: the model, how much of
its memory is in use, how much of the last moment a kernel ran on it ("-" where it does not tell), and
whether it can be had. Of your own executions you see the ids, of others' that the GPU is in use.`,
		Example: "  hermes gpu list\n  hermes gpu:list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(&gpuListOptions{app: a, ctx: cmd.Context()})
		},
	}
}

func runGPUList(o *gpuListOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	list, err := api.Call[api.GPUs](o.ctx, client, api.OpGPUList, api.GPUList{})
	if err != nil {
		return err
	}
	if !o.app.human() {
		return o.app.printJSON(list)
	}
	if len(list.GPUs) == 0 {
		o.app.note("the fleet has no GPU")
	} else {
		rows := make([][]string, 0, len(list.GPUs))
		for _, g := range list.GPUs {
			rows = append(rows, o.app.gpuRow(g))
		}
		header := []string{"Watcher", "GPU", "Model", "Memory", "Used", "State"}
		if err := o.app.printTable(o.app.streams.Out, header, rows); err != nil {
			return err
		}
	}
	o.app.note("%s", waitingText(list))
	return nil
}

func (a *app) gpuRow(g api.GPUState) []string {
	memory, used := size(g.GPU.MemoryBytes), "-"
	if r := g.Reading; r != nil {
		memory = size(r.MemoryBytes) + " of " + memory
		if r.UtilisationPercent >= 0 {
			used = fmt.Sprintf("%d %%", r.UtilisationPercent)
		}
	}
	model := g.GPU.Model
	if g.GPU.Profile != "" && !strings.Contains(model, g.GPU.Profile) {
		model += " " + g.GPU.Profile
	}
	return []string{g.Watcher, g.GPU.UUID, model, memory, used, a.gpuState(g)}
}

// gpuState says whether a device can be had.
func (a *app) gpuState(g api.GPUState) string {
	var parts []string
	if others := g.Users - len(g.Yours); len(g.Yours) > 0 {
		text := "yours: " + strings.Join(g.Yours, ", ")
		if others > 0 {
			text += fmt.Sprintf(" and %d more", others)
		}
		parts = append(parts, a.streams.Yellow(text))
	} else if g.Users > 0 {
		parts = append(parts, a.streams.Yellow("in use"))
	}
	switch {
	case g.GPU.Fault != "":
		parts = append(parts, a.streams.Red("out of order: "+g.GPU.Fault))
	case g.Drained != "":
		parts = append(parts, a.streams.Red(g.Drained))
	case len(parts) == 0:
		parts = append(parts, a.streams.Green("free"))
	}
	return strings.Join(parts, "; ")
}

func waitingText(list api.GPUs) string {
	switch {
	case list.Waiting == 0:
		return "nothing waits for GPUs"
	case list.Waiting == 1 && len(list.Yours) == 1:
		return "one execution waits for GPUs, yours"
	}
	return fmt.Sprintf("%d execution(s) wait for GPUs, %d of them yours", list.Waiting, len(list.Yours))
}
