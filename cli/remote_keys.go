package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

func newRemoteKeysCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "keys",
		Short:   "Where you are logged in",
		Example: "  hermes remote keys list\n  hermes remote:keys revoke UBF4",
	}
	cmd.AddCommand(newRemoteKeysListCmd(a, nil), newRemoteKeysRevokeCmd(a, nil))
	return cmd
}

func newRemoteKeysListCmd(a *app, run func(*remoteOptions) error) *cobra.Command {
	if run == nil {
		run = runRemoteKeysList
	}
	return &cobra.Command{
		Use:     "list",
		Short:   "List the keys that act as you",
		Example: "  hermes remote keys list\n  hermes remote:keys list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(&remoteOptions{app: a, ctx: cmd.Context()})
		},
	}
}

func runRemoteKeysList(o *remoteOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	listed, err := api.Call[api.Keys](o.ctx, client, api.OpKeysList, api.KeysList{})
	if err != nil {
		return err
	}
	return o.app.printKeys(listed.Keys)
}

func (a *app) printKeys(keys []api.Key) error {
	if !a.human() {
		return printList(a, keys)
	}
	var rows [][]string
	for _, k := range keys {
		expires := clockTime(k.Expires)
		if k.Expired {
			expires += " (expired)"
		}
		rows = append(rows, []string{k.Key[:min(len(k.Key), 12)], k.Label, clockTime(k.EnrolledAt), expires})
	}
	return a.printTable(a.streams.Out, []string{"Key", "Where", "Since", "Expires"}, rows)
}

type revokeOptions struct {
	app *app
	ctx context.Context
	key string
	all bool
}

func newRemoteKeysRevokeCmd(a *app, run func(*revokeOptions) error) *cobra.Command {
	o := &revokeOptions{app: a}
	if run == nil {
		run = runRemoteKeysRevoke
	}
	cmd := &cobra.Command{
		Use:     "revoke KEY",
		Short:   "End a key at once, and what is connected with it",
		Long:    "Ends a key, which is named by its beginning, or all of them: this machine's login too.",
		Example: "  hermes remote keys revoke UBF4\n  hermes remote:keys revoke --all",
		Args:    cobra.MaximumNArgs(1),

		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ctx = cmd.Context()
			if len(args) > 0 {
				o.key = args[0]
			}
			if (o.key == "") != o.all {
				return usageOf(cmd, usage("either a key is named, or --all is given"))
			}
			return run(o)
		},
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "end every key")
	return cmd
}

func runRemoteKeysRevoke(o *revokeOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	gone, err := api.Call[api.Keys](o.ctx, client, api.OpKeysRevoke, api.KeysRevoke{Key: o.key, All: o.all})
	if err != nil {
		return err
	}
	if !o.app.human() {
		return printList(o.app, gone.Keys)
	}
	for _, k := range gone.Keys {
		if _, err := fmt.Fprintf(o.app.streams.Out, "-> %s (%s) ended\n", k.Key[:min(len(k.Key), 12)], k.Label); err != nil {
			return err
		}
	}
	return nil
}
