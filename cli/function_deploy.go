package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

type functionDeployOptions struct {
	app    *app
	ctx    context.Context
	dir    string
	update bool
}

func newFunctionDeployCmd(a *app, run func(*functionDeployOptions) error) *cobra.Command {
	if run == nil {
		run = runFunctionDeploy
	}
	o := &functionDeployOptions{app: a}
	cmd := &cobra.Command{
		Use:   "deploy [PATH]",
		Short: "Build a function on the server and register it",
		Long: `Sends the function in a folder to the server, builds it there with "make clean" and "make", shows the
compiler's output, and registers the version that hermes.config.json names. A version that exists
needs --update; it can be run as it was until the new build has succeeded.`,
		Example: "  hermes function deploy\n  hermes function deploy ./pi -u\n  hermes function:deploy --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ctx, o.dir = cmd.Context(), dirArg(args)
			return run(o)
		},
	}
	cmd.Flags().BoolVarP(&o.update, "update", "u", false, "replace the version if it exists")
	return cmd
}

func runFunctionDeploy(o *functionDeployOptions) error {
	b, err := newBuilding(o.ctx, o.app, o.dir)
	if err != nil {
		return err
	}
	defer b.close()
	deployed, err := send[api.Deployed](o.ctx, b.client, api.OpFunctionDeploy, api.FunctionDeploy{
		Bundle: b.source.blob, Build: b.id, Update: o.update,
	})
	if err != nil {
		return err
	}
	ask := api.FunctionInspect{Name: deployed.Function.Name, Version: deployed.Function.Version, Build: b.id}
	if deployed.Reused {
		o.tellReused(b, deployed)
	} else if _, err := b.watch(0); err != nil {
		return err
	}
	list, err := api.Call[api.Functions](o.ctx, b.client, api.OpFunctionInspect, ask)
	if err != nil {
		return err
	}
	return o.app.printFunctions(list.Functions)
}

// tellReused names the build that was found, by its number if the caller may see it.
func (o *functionDeployOptions) tellReused(b *building, d api.Deployed) {
	e, err := api.Call[api.Execution](o.ctx, b.client, api.OpExecutionInspect, api.ExecutionRef{ID: d.BuiltBy})
	if err != nil {
		o.app.note("the same source was built before; that build is used")
		return
	}
	o.app.note("the same source was built before, by execution %s; that build is used", name(e, e.ID))
}
