package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

type functionInspectOptions struct {
	app *app
	ctx context.Context
	ref events.FunctionRef
}

func newFunctionInspectCmd(a *app, run func(*functionInspectOptions) error) *cobra.Command {
	if run == nil {
		run = runFunctionInspect
	}
	return &cobra.Command{
		Use:               "inspect ID",
		Short:             "Show everything about a function's versions",
		Example:           "  hermes function inspect pi\n  hermes function inspect ana/pi:1.0.0 --json",
		Args:              argsOf(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeFunctions(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			return run(&functionInspectOptions{app: a, ctx: cmd.Context(), ref: ref})
		},
	}
}

func runFunctionInspect(o *functionInspectOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	list, err := api.Call[api.Functions](o.ctx, client, api.OpFunctionInspect, api.FunctionInspect{
		Owner: o.ref.Owner, Name: o.ref.Name, Version: o.ref.Version,
	})
	if err != nil {
		return suggest(o.ctx, client, o.ref, err)
	}
	if !o.app.human() {
		return printList(o.app, list.Functions)
	}
	for i, f := range list.Functions {
		if i > 0 {
			fmt.Fprintln(o.app.streams.Out)
		}
		if err := o.app.printFields(o.app.streams.Out, o.app.functionFields(f)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) functionFields(f api.Function) [][2]string {
	fields := [][2]string{
		{"function", f.Ref().String()}, {"status", a.functionStatus(f.Status)},
		{"reason", f.Reason}, {"message", f.Message},
		{"language", f.Language}, {"scope", f.Scope}, {"gpuCapable", yesNo(f.GPUCapable)},
		{"handler", f.Handler}, {"base", f.Base}, {"digest", f.Digest}, {"bundleDigest", f.BundleDigest},
		{"build", f.Build}, {"registeredAt", clockTime(f.RegisteredAt)},
	}
	return append(fields, limitFields(f.Limits, events.Limits{})...)
}
