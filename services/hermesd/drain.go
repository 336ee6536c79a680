package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

// localWatcher is what hermesd up calls its own.
const localWatcher = "local"

func newWatcherDrainCommand() *cobra.Command {
	var o operatorOptions
	ask := api.WatcherDrain{}
	cmd := &cobra.Command{
		Use:   "drain [NAME]",
		Short: "Let nothing new come to a watcher, or to one of its GPUs",
		Long: `Lets nothing new come to the watcher NAME ("` + localWatcher + `", that of hermesd up, if it is left out), or with --gpu
to one of its GPUs: a MIG instance, or a GPU with all its instances. What runs there goes on.

It holds until undrain takes it back, also when the watcher, the services or the machine start again.`,
		Example: "  hermesd watcher drain gpu1 --reason 'new power supply'\n  hermesd watcher drain gpu1 --gpu GPU-5c8d9a3e-0f0e-3c1e-8d44-54c2a8f6b1aa",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ask.Watcher = watcherArg(args)
			reply, err := askOperator[api.WatcherDrained](cmd, &o, api.OpWatcherDrain, ask)
			if err != nil {
				return err
			}
			return tellDrained(cmd, o, ask.WatcherRef, reply)
		},
	}
	o.drainFlags(cmd, &ask.WatcherRef)
	cmd.Flags().StringVar(&ask.Reason, "reason", "", "`text` for those who wonder, in one line")
	return cmd
}

func newWatcherUndrainCommand() *cobra.Command {
	var o operatorOptions
	ask := api.WatcherRef{}
	cmd := &cobra.Command{
		Use:     "undrain [NAME]",
		Short:   "Take a drain back",
		Example: "  hermesd watcher undrain gpu1",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ask.Watcher = watcherArg(args)
			reply, err := askOperator[api.WatcherDrained](cmd, &o, api.OpWatcherUndrain, ask)
			if err != nil {
				return err
			}
			return tellDrained(cmd, o, ask, reply)
		},
	}
	o.drainFlags(cmd, &ask)
	return cmd
}

func (o *operatorOptions) drainFlags(cmd *cobra.Command, ref *api.WatcherRef) {
	f := cmd.Flags()
	contextFlag(f, &o.natsContext)
	o.format.flags(cmd, f)
	f.StringVar(&ref.GPU, "gpu", "", "`UUID` of one of its GPUs, as `hermes gpu list` shows it")
}

func watcherArg(args []string) string {
	if len(args) == 0 {
		return localWatcher
	}
	return args[0]
}

func tellDrained(cmd *cobra.Command, o operatorOptions, ref api.WatcherRef, reply api.WatcherDrained) error {
	out := cmd.OutOrStdout()
	if !o.format.human() {
		return o.format.print(out, reply)
	}
	what := "watcher " + ref.Watcher
	if ref.GPU != "" {
		what = ref.GPU + " of " + what
	}
	if !reply.Drained {
		_, err := fmt.Fprintf(out, "%s takes executions again\n", what)
		return err
	}
	running := "nothing runs there"
	if reply.Running > 0 {
		running = fmt.Sprintf("%d execution%s still there", reply.Running, map[bool]string{true: " is", false: "s are"}[reply.Running == 1])
	}
	_, err := fmt.Fprintf(out, "%s gets nothing new; %s\n", what, running)
	return err
}
