package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

func newRemoteCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "remote",
		Short:   "The server in use and who you are there",
		Example: "  hermes remote add tls://gpu.lab.example\n  hermes remote login ana\n  hermes remote whoami",
	}
	cmd.AddCommand(newRemoteAddCmd(a, nil), newRemoteRegisterCmd(a, nil), newRemoteLoginCmd(a, nil), newRemoteLogoutCmd(a, nil),
		newRemoteWhoamiCmd(a, nil), newRemoteInfoCmd(a, nil), newRemoteKeysCmd(a), newRemotePasswdCmd(a, nil), newRemoteUnregisterCmd(a, nil))
	return cmd
}

type remoteOptions struct {
	app *app
	ctx context.Context
}

func newRemoteWhoamiCmd(a *app, run func(*remoteOptions) error) *cobra.Command {
	if run == nil {
		run = runRemoteWhoami
	}
	return &cobra.Command{
		Use:     "whoami",
		Short:   "Say as whom you are logged in",
		Example: "  hermes remote whoami\n  hermes --context lab remote:whoami",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(&remoteOptions{app: a, ctx: cmd.Context()})
		},
	}
}

func runRemoteWhoami(o *remoteOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	info, err := api.Call[api.Info](o.ctx, client, api.OpInfo, api.InfoRequest{})
	if err != nil {
		return err
	}
	if !o.app.human() {
		return o.app.printJSON(map[string]string{"user": info.User})
	}
	_, err = fmt.Fprintf(o.app.streams.Out, "You're %s\n", info.User)
	return err
}
