package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

func newFunctionCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "function",
		Short: "Make, deploy, run and list functions",
		Long: `A function is a folder with hermes.config.json, a Makefile and source code. Its full name is
owner/name:version. A name alone is your own function, and without a version its highest one.`,
		Example: "  hermes function init --name pi --language cpp\n  hermes function deploy\n  hermes function run pi",
	}
	cmd.AddCommand(
		newFunctionInitCmd(a, nil), newFunctionBuildCmd(a, nil), newFunctionDeployCmd(a, nil), newFunctionRunCmd(a, nil), newFunctionMapCmd(a, nil),
		newFunctionListCmd(a, nil), newFunctionInspectCmd(a, nil), newFunctionDeleteCmd(a, nil),
	)
	return cmd
}

// parseRef reads a function's name as users type it.
func parseRef(text string) (events.FunctionRef, error) {
	ref, err := events.ParseFunctionRef(text)
	if err != nil {
		return ref, usage("%v", err).WithHint("a function is named owner/name:version; owner and version may be left out")
	}
	return ref, nil
}

// printFunctions prints versions of functions as the rows of a table.
func (a *app) printFunctions(functions []api.Function) error {
	if !a.human() {
		return printList(a, functions)
	}
	rows := make([][]string, len(functions))
	for i, f := range functions {
		rows[i] = []string{
			f.Ref().String(), f.Language, f.Scope, yesNo(f.GPUCapable), shortDigest(f.Digest), a.functionStatus(f.Status),
		}
	}
	return a.printTable(a.streams.Out, []string{"Function", "Language", "Scope", "GPU Capable", "Digest", "Status"}, rows)
}

func (a *app) functionStatus(status string) string {
	switch status {
	case "ready":
		return a.streams.Green(status)
	case "failed", "cancelled":
		return a.streams.Red(status)
	}
	return a.streams.Yellow(status)
}

type functionListOptions struct {
	app   *app
	ctx   context.Context
	owner string
}

func newFunctionListCmd(a *app, run func(*functionListOptions) error) *cobra.Command {
	if run == nil {
		run = runFunctionList
	}
	return &cobra.Command{
		Use:     "list [OWNER]",
		Short:   "List your functions, or the public ones of another user",
		Example: "  hermes function list\n  hermes function list ana\n  hermes function:list -j",
		Args:    cobra.MaximumNArgs(1),

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			o := &functionListOptions{app: a, ctx: cmd.Context()}
			if len(args) > 0 {
				o.owner = args[0]
				if err := events.CheckUserName(o.owner); err != nil {
					return usageOf(cmd, err)
				}
			}
			return run(o)
		},
	}
}

func runFunctionList(o *functionListOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	list, err := api.Call[api.Functions](o.ctx, client, api.OpFunctionList, api.FunctionList{Owner: o.owner})
	if err != nil {
		return err
	}
	if o.app.human() && len(list.Functions) == 0 {
		if owner := api.OwnerOf(o.owner, client.User()); owner != client.User() {
			fmt.Fprintf(o.app.streams.Err, "%s has no public functions.\n", owner)
			if list.OwnerLike != "" {
				fmt.Fprintf(o.app.streams.Err, "→ did you mean `hermes function list %s`?\n", list.OwnerLike)
			}
		} else {
			fmt.Fprintln(o.app.streams.Err, "No functions. `hermes function init` makes one.")
		}
		return nil
	}
	return o.app.printFunctions(list.Functions)
}
