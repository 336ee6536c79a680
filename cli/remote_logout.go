package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

type logoutOptions struct {
	app *app
	ctx context.Context
	// local leaves the server alone.
	local bool
}

func newRemoteLogoutCmd(a *app, run func(*logoutOptions) error) *cobra.Command {
	o := &logoutOptions{app: a}
	if run == nil {
		run = runRemoteLogout
	}
	cmd := &cobra.Command{
		Use:   "logout",
		Short: "End this machine's login",
		Long: `Ends the key on the server, where it opens nothing from then on, also not for what is connected with
it, and removes it from this machine.`,
		Example: "  hermes remote logout\n  hermes --context lab remote:logout",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.ctx = cmd.Context()
			return run(o)
		},
	}
	cmd.Flags().BoolVar(&o.local, "local", false, "remove the login from this machine only, where the server cannot be reached: the key stays good until it expires")
	return cmd
}

func runRemoteLogout(o *logoutOptions) error {
	r, err := o.app.remote()
	if err != nil {
		return err
	}
	user := r.user()
	if user == "" {
		return notLoggedInTo(r)
	}
	if !o.local {
		if err := r.end(o.ctx); err != nil {
			return err
		}
	}
	if err := r.forget(); err != nil {
		return err
	}
	if !o.app.human() {
		return o.app.printJSON(map[string]string{"user": user})
	}
	_, err = fmt.Fprintf(o.app.streams.Out, "You logged out from %s\n", user)
	return err
}

// end has the server end the login's key. One that opens nothing is as good as ended.
func (r remote) end(ctx context.Context) error {
	k, err := storedKey(r.keyFile())
	if err != nil {
		return api.Errorf(api.Invalid, badContext, "the key of the login cannot be read: %v", err).WithHint("`hermes remote logout --local` removes what is left of it here")
	}
	defer k.pair.Wipe()
	err = r.revoke(ctx, k)
	if _, known := api.AsError(err); err == nil || known {
		return err
	}
	if errors.Is(err, nats.ErrAuthorization) {
		return nil
	}
	return connectError(r.Context, err)
}

func notLoggedInTo(r remote) *api.Error {
	return api.Errorf(api.Unauthorized, notLoggedIn, "You are not logged in!").
		WithHint("`hermes --context %s remote login USERNAME`, or `register`", r.Name)
}

type unregisterOptions struct {
	app   *app
	ctx   context.Context
	user  string
	stdin bool
}

func newRemoteUnregisterCmd(a *app, run func(*unregisterOptions) error) *cobra.Command {
	o := &unregisterOptions{app: a}
	if run == nil {
		run = runRemoteUnregister
	}
	cmd := &cobra.Command{
		Use:   "unregister [USERNAME]",
		Short: "Remove yourself from the server, with all functions and runs",
		Long: `Asks for your name and your password. What you run is cancelled, your functions and the output of your
runs are deleted, and your name is given to nobody else.`,
		Example: "  hermes remote unregister\n  pass hermes | hermes remote:unregister ana --password-stdin",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ctx = cmd.Context()
			if len(args) > 0 {
				o.user = args[0]
			}
			return run(o)
		},
	}
	cmd.Flags().BoolVar(&o.stdin, "password-stdin", false, "take the password from the first line of stdin")
	return cmd
}

func runRemoteUnregister(o *unregisterOptions) error {
	r, err := o.app.remote()
	if err != nil {
		return err
	}
	if r.user() == "" {
		return notLoggedInTo(r)
	}
	q := o.app.questions(o.stdin)
	if o.user == "" {
		if o.user, err = q.line("Username? "); err != nil {
			return err
		}
	}
	if o.user != r.user() {
		return usage("you are logged in as %s, not as %s", r.user(), o.user)
	}
	password, err := q.secret("Password? ")
	if err != nil {
		return err
	}
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	gone, err := api.Call[api.Unregistered](o.ctx, client, api.OpUnregister, api.Unregister{Password: password})
	if err != nil {
		return err
	}
	if err := r.forget(); err != nil {
		return err
	}
	if !o.app.human() {
		return o.app.printJSON(map[string]string{"user": gone.User})
	}
	_, err = fmt.Fprintf(o.app.streams.Out, "-> %s is not registered any more; functions and runs are being removed\n", gone.User)
	return err
}
