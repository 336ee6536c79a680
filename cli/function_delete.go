package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

type functionDeleteOptions struct {
	app *app
	ctx context.Context
	ref events.FunctionRef
}

func newFunctionDeleteCmd(a *app, run func(*functionDeleteOptions) error) *cobra.Command {
	if run == nil {
		run = runFunctionDelete
	}
	return &cobra.Command{
		Use:   "delete NAME [VERSION]",
		Short: "Delete a function, or one version of it",
		Long: `Deletes every version of one of your functions, or one version. What has run stays in the history,
and what runs goes on to its end.`,
		Example:           "  hermes function delete pi\n  hermes function delete pi 1.0.0\n  hermes function delete pi:1.0.0",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeVersions,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			if len(args) == 2 {
				if ref.Version != "" && ref.Version != args[1] {
					return usageOf(cmd, usage("two versions are named: %s and %s", ref.Version, args[1]))
				}
				ref.Version = args[1]
				if err := events.CheckVersion(ref.Version); err != nil {
					return usageOf(cmd, err)
				}
			}
			return run(&functionDeleteOptions{app: a, ctx: cmd.Context(), ref: ref})
		},
	}
}

func runFunctionDelete(o *functionDeleteOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	if o.ref.Owner != "" && o.ref.Owner != "me" && o.ref.Owner != client.User() {
		return api.Errorf(api.Unauthorized, api.InvalidArguments, "%s/%s is not yours: you are %s", o.ref.Owner, o.ref.Name, client.User())
	}
	deleted, err := api.Call[api.Functions](o.ctx, client, api.OpFunctionDelete, api.FunctionDelete{
		Name: o.ref.Name, Version: o.ref.Version,
	})
	if err != nil {
		return err
	}
	return o.print(deleted.Functions)
}

func (o *functionDeleteOptions) print(deleted []api.Function) error {
	if !o.app.human() {
		return printList(o.app, deleted)
	}
	out := o.app.streams.Out
	if len(deleted) == 0 {
		_, err := fmt.Fprintln(out, "-> No functions deleted")
		return err
	}
	for _, f := range deleted {
		if _, err := fmt.Fprintf(out, "-> Deleted %s\n", f.Ref()); err != nil {
			return err
		}
	}
	return nil
}
