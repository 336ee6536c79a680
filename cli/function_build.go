package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/manifest"
)

type functionBuildOptions struct {
	app *app
	ctx context.Context
	dir string
}

func newFunctionBuildCmd(a *app, run func(*functionBuildOptions) error) *cobra.Command {
	if run == nil {
		run = runFunctionBuild
	}
	return &cobra.Command{
		Use:   "build [PATH]",
		Short: "Build a function on the server without registering it",
		Long: `Builds the function in a folder as deploy does, with "make clean" and "make" on the server, and shows
the compiler's output. Nothing is registered; the build stays in the history.`,
		Example: "  hermes function build\n  hermes function build ./pi --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(&functionBuildOptions{app: a, ctx: cmd.Context(), dir: dirArg(args)})
		},
	}
}

// dirArg is the folder that was named, else the current one.
func dirArg(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return "."
}

func runFunctionBuild(o *functionBuildOptions) error {
	b, err := newBuilding(o.ctx, o.app, o.dir)
	if err != nil {
		return err
	}
	defer b.close()
	accepted, err := send[api.Accepted](o.ctx, b.client, api.OpFunctionBuild, api.FunctionBuild{
		Bundle: b.source.blob, Build: b.id,
	})
	if err != nil {
		return err
	}
	e, err := b.watch(accepted.Sequence)
	if err != nil {
		return err
	}
	m := b.source.manifest
	built := api.Function{
		Owner: e.Request.Function.Owner, FunctionName: m.Name, FunctionVersion: m.Version,
		Language: m.Config.Language, Scope: m.Config.Scope, GPUCapable: m.Config.GPUCapable, Handler: m.Config.Handler,
		Base: e.Request.Base, Status: "built", BundleDigest: b.source.blob.Digest, Build: b.id, Limits: m.Config.Limits,
		Args: m.Config.Args, Env: m.Config.Env, Sandbox: manifest.SandboxText(m.Config.ReuseSandbox),
	}
	if e.Artifact != nil {
		built.Digest = e.Artifact.Digest
	}
	return o.app.printFunctions([]api.Function{built})
}
