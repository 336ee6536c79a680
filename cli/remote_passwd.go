package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

type passwdOptions struct {
	app   *app
	ctx   context.Context
	stdin bool
	// revokeOthers ends every login but this machine's.
	revokeOthers bool
}

func newRemotePasswdCmd(a *app, run func(*passwdOptions) error) *cobra.Command {
	o := &passwdOptions{app: a}
	if run == nil {
		run = runRemotePasswd
	}
	cmd := &cobra.Command{
		Use:   "passwd",
		Short: "Choose another password",
		Long: `Asks for your password and for the new one. Where you are logged in you stay: a login is a key, and does
not hang on the password that it was made with. If somebody else may know the old password, end the
logins that they may have made with --revoke-others; this machine's stays.`,
		Example: "  hermes remote passwd\n  hermes remote:passwd --revoke-others\n  printf '%s\\n' \"$OLD\" \"$NEW\" | hermes remote passwd --password-stdin",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.ctx = cmd.Context()
			return run(o)
		},
	}
	cmd.Flags().BoolVar(&o.stdin, "password-stdin", false, "take the password and the new one from the first two lines of stdin")
	cmd.Flags().BoolVar(&o.revokeOthers, "revoke-others", false, "end every login but this machine's")
	return cmd
}

func runRemotePasswd(o *passwdOptions) error {
	r, err := o.app.remote()
	if err != nil {
		return err
	}
	if r.user() == "" {
		return notLoggedInTo(r)
	}
	ask := api.PasswordChange{RevokeOthers: o.revokeOthers}
	k, err := storedKey(r.keyFile())
	if err != nil {
		return notLoggedInTo(r)
	}
	ask.Keep = k.public
	k.pair.Wipe()
	q := o.app.questions(o.stdin)
	if ask.Password, err = q.secret("Current password: "); err != nil {
		return err
	}
	if ask.New, err = q.newPassword("New password"); err != nil {
		return err
	}
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	changed, err := api.Call[api.PasswordChanged](o.ctx, client, api.OpPasswordChange, ask)
	if err != nil {
		return err
	}
	if !o.app.human() {
		return o.app.printJSON(changed)
	}
	out := o.app.streams.Out
	if _, err := fmt.Fprintf(out, "-> %s has another password\n", changed.User); err != nil {
		return err
	}
	for _, k := range changed.Revoked {
		if _, err := fmt.Fprintf(out, "-> %s (%s) ended\n", k.Key[:min(len(k.Key), 12)], k.Label); err != nil {
			return err
		}
	}
	if others := changed.Kept - 1; others > 0 {
		_, err = fmt.Fprintf(o.app.streams.Err, "%d other logins go on: `hermes remote keys list` shows them\n", others)
	}
	return err
}
