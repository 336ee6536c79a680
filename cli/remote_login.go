package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/commandline"
	"github.com/hermes-serverless/hermes/services/moment"
)

// enterOptions are those of register and login.
type enterOptions struct {
	app     *app
	ctx     context.Context
	user    string
	stdin   bool
	expires time.Duration
}

func (o *enterOptions) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.stdin, "password-stdin", false, "take the password from the first line of stdin")
	o.expires = api.DefaultLogin
	commandline.DurationVar(cmd.Flags(), &o.expires, "expires", "how long the login is good")
}

func (o *enterOptions) check() error {
	if o.expires < time.Second || o.expires > api.MaxLogin {
		return usage("--expires %s: must be from 1s to %s", moment.Text(o.expires), moment.Text(api.MaxLogin))
	}
	return nil
}

func (o *enterOptions) login(password string) api.Login {
	return api.Login{User: o.user, Password: password, Label: label(), ExpiresSeconds: int64(o.expires.Seconds())}
}

// tell says who is logged in now.
func (o *enterOptions) tell(got api.LoggedIn) error {
	if !o.app.human() {
		return o.app.printJSON(got)
	}
	_, err := fmt.Fprintf(o.app.streams.Out, "You're %s, until %s\n", got.User, got.Expires.Local().Format("2006-01-02 15:04"))
	return err
}

func newRemoteLoginCmd(a *app, run func(*enterOptions) error) *cobra.Command {
	o := &enterOptions{app: a}
	if run == nil {
		run = runRemoteLogin
	}
	cmd := &cobra.Command{
		Use:   "login USERNAME",
		Short: "Log in",
		Long: `Asks for the password, makes a key on this machine and has the server take it as yours. The key's seed
stays here, in a file that only you can read; the NATS context that remote add made uses it, so that
the nats tool is logged in too.`,
		Example: "  hermes remote login ana\n  hermes --context lab remote:login ana --expires 12h\n  pass hermes | hermes remote login ana --password-stdin",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ctx, o.user = cmd.Context(), args[0]
			return run(o)
		},
	}
	o.flags(cmd)
	return cmd
}

func runRemoteLogin(o *enterOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	r, err := o.app.remote()
	if err != nil {
		return err
	}
	password, err := o.app.questions(o.stdin).secret("Password? ")
	if err != nil {
		return err
	}
	got, err := r.enter(o.ctx, api.OpLogin, o.login(password))
	if err != nil {
		return err
	}
	return o.tell(got)
}

// inviteEnv holds an invitation, where nobody can be asked: arguments can be seen by everybody.
const inviteEnv = "HERMES_INVITE"

func newRemoteRegisterCmd(a *app, run func(*enterOptions) error) *cobra.Command {
	o := &enterOptions{app: a}
	if run == nil {
		run = runRemoteRegister
	}
	cmd := &cobra.Command{
		Use:   "register [USERNAME]",
		Short: "Become a user of the server, and log in",
		Long: `Asks for a name and a password, and logs in. Where the server's operator hands out invitations, it
asks for yours, or takes it from ` + inviteEnv + `.`,
		Example: "  hermes remote register\n  hermes --context lab remote:register ana",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ctx = cmd.Context()
			if len(args) > 0 {
				o.user = args[0]
			}
			return run(o)
		},
	}
	o.flags(cmd)
	return cmd
}

func runRemoteRegister(o *enterOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	r, err := o.app.remote()
	if err != nil {
		return err
	}
	k, err := newLoginKey()
	if err != nil {
		return err
	}
	defer k.pair.Wipe()
	state, err := asGuest[api.KeyState](o.ctx, r.Context, k, api.OpKeyState, api.KeyStateRequest{})
	if err != nil {
		return err
	}
	if state.Registration == api.RegistrationClosed {
		return api.Errorf(api.Unauthorized, api.RegistrationClosedErr, "the server at %s takes no registrations", redacted(r.URL)).
			WithHint("its operator can add you: `hermesd user add NAME`")
	}
	q := o.app.questions(o.stdin)
	if o.user == "" {
		if o.user, err = q.line("Username? "); err != nil {
			return err
		}
	}
	ask := api.Register{}
	if state.Registration == api.RegistrationInvite {
		if ask.Invite = os.Getenv(inviteEnv); ask.Invite == "" {
			if o.stdin {
				return usage("the server wants an invitation").WithHint("give it in %s", inviteEnv)
			}
			if ask.Invite, err = q.secret("Invitation? "); err != nil {
				return err
			}
		}
	}
	password, err := q.newPassword("Password")
	if err != nil {
		return err
	}
	ask.Login = o.login(password)
	got, err := r.enter(o.ctx, api.OpRegister, ask)
	if err != nil {
		return err
	}
	return o.tell(got)
}
