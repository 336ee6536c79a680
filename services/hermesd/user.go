package main

import (
	"bufio"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/commandline"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// operatorOptions are how the operator reaches the instance.
type operatorOptions struct {
	natsContext string
	format      format
}

func newUserCommand() *cobra.Command {
	var o operatorOptions
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Add, invite, list, disable and remove users",
		Long: `Says who may use a running instance. It asks the services with the operator's key, which is in the
NATS context that hermesd up wrote. With a NATS server of your own, make one for keys/operator.nk.`,
	}
	contextFlag(cmd.PersistentFlags(), &o.natsContext)
	o.format.flags(cmd, cmd.PersistentFlags())
	cmd.AddCommand(newUserAddCommand(&o), newUserInviteCommand(&o), newUserListCommand(&o),
		newUserRefCommand(&o, "inspect", "Show a user, with all keys", api.OpUserInspect),
		newUserPasswdCommand(&o),
		newUserQuotaCommand(&o),
		newUserRefCommand(&o, "disable", "Take the use of all keys away, at once", api.OpUserDisable),
		newUserRefCommand(&o, "enable", "Let a disabled user in again", api.OpUserEnable),
		newUserRemoveCommand(&o))
	return cmd
}

// askOperator asks the services for an operation.
func askOperator[Reply any](cmd *cobra.Command, o *operatorOptions, op string, ask any) (Reply, error) {
	nc, err := connectOperator(o.natsContext)
	if err != nil {
		var none Reply
		return none, err
	}
	defer nc.Close()
	reply, err := api.Ask[Reply](cmd.Context(), nc, api.AdminSubject(operatorName(), op), ask)
	return reply, err
}

// completeUsers offers the names of the users, for one argument.
func (o *operatorOptions) completeUsers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := askOperator[api.Users](cmd, o, api.OpUserList, api.UserList{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]string, len(all.Users))
	for i, u := range all.Users {
		names[i] = u.Name
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// operatorName is who asks, for the history.
func operatorName() string {
	for _, name := range []string{os.Getenv("SUDO_USER"), loginName()} {
		if name = instance.UserName(name); name != "" {
			return name
		}
	}
	return "operator"
}

func loginName() string {
	me, err := user.Current()
	if err != nil {
		return ""
	}
	return me.Username
}

func newUserAddCommand(o *operatorOptions) *cobra.Command {
	var stdin bool
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user, whatever the policy of registration is",
		Long: `Adds a user with a password that is made up and printed once, or with the first line of stdin. The user
then logs in: hermes remote add URL, hermes remote login NAME.`,
		Example: "  hermesd user add ana\n  pass lab/ana | hermesd user add ana --password-stdin",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := givenPassword(cmd, stdin)
			if err != nil {
				return err
			}
			added, err := askOperator[api.User](cmd, o, api.OpUserAdd, api.UserAdd{User: args[0], Password: password})
			if err != nil {
				return err
			}
			if !o.format.human() && stdin {
				return o.format.print(cmd.OutOrStdout(), added)
			}
			if !o.format.human() {
				return o.format.print(cmd.OutOrStdout(), map[string]string{"name": added.Name, "password": password})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "added %s\n", added.Name)
			if !stdin {
				fmt.Fprintf(cmd.OutOrStdout(), "password: %s\n", password)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "take the password from the first line of stdin")
	return cmd
}

// givenPassword is the first line of stdin, or made up.
func givenPassword(cmd *cobra.Command, stdin bool) (string, error) {
	if stdin {
		return firstLine(cmd.InOrStdin())
	}
	return madeUp(), nil
}

// madeUp is a password of 100 random bits in groups that can be read out.
func madeUp() string {
	raw := make([]byte, 13)
	_, _ = rand.Read(raw) // never fails
	text := strings.ToLower(base32.StdEncoding.EncodeToString(raw))[:20]
	return strings.Join([]string{text[:5], text[5:10], text[10:15], text[15:]}, "-")
}

func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 2*api.MaxPasswordBytes)).ReadString('\n')
	if line == "" {
		return "", fmt.Errorf("stdin holds no password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func newUserInviteCommand(o *operatorOptions) *cobra.Command {
	ask, expires := api.UserInvite{}, 7*24*time.Hour
	cmd := &cobra.Command{
		Use:     "invite [NAME]",
		Short:   "Make a token with which one person may register",
		Long:    "Prints a token that is good once: for the name, or for any. It is kept nowhere else.",
		Example: "  hermesd user invite\n  hermesd user invite ana --expires 24h",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				ask.User = args[0]
			}
			ask.ExpiresSeconds = int64(expires.Seconds())
			made, err := askOperator[api.Invited](cmd, o, api.OpUserInvite, ask)
			if err != nil {
				return err
			}
			if !o.format.human() {
				return o.format.print(cmd.OutOrStdout(), made)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\ngood once, until %s: hermes remote register asks for it\n", made.Token, made.Expires.Local().Format(time.DateTime))
			return err
		},
	}
	commandline.DurationVar(cmd.Flags(), &expires, "expires", "how long it waits to be used")
	return cmd
}

func newUserListCommand(o *operatorOptions) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all users", Args: cobra.NoArgs,
		Example: "  hermesd user list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := askOperator[api.Users](cmd, o, api.OpUserList, api.UserList{})
			if err != nil {
				return err
			}
			if !o.format.human() {
				return printAll(o.format, cmd.OutOrStdout(), all.Users)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
			fmt.Fprintln(w, "User\tStatus\tSince\tLogins\tConnections")
			for _, u := range all.Users {
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\n", u.Name, u.Status, u.RegisteredAt.Local().Format(time.DateOnly), len(u.Keys), u.Connections)
			}
			return w.Flush()
		},
	}
}

func newUserRefCommand(o *operatorOptions, word, short, op string) *cobra.Command {
	return &cobra.Command{
		Use: word + " NAME", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeUsers,
		Example: "  hermesd user " + word + " ana",
		RunE: func(cmd *cobra.Command, args []string) error {
			u, err := askOperator[api.User](cmd, o, op, api.UserRef{User: args[0]})
			if err != nil {
				return err
			}
			if !o.format.human() {
				return o.format.print(cmd.OutOrStdout(), u)
			}
			return printUser(cmd.OutOrStdout(), u)
		},
	}
}

func printUser(out io.Writer, u api.User) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "user\t%s\nstatus\t%s\nsince\t%s\nconnections\t%d\n", u.Name, u.Status, u.RegisteredAt.Local().Format(time.DateTime), u.Connections)
	for _, k := range u.Keys {
		until := "until " + k.Expires.Local().Format(time.DateTime)
		if k.Expired {
			until = "expired"
		}
		fmt.Fprintf(w, "key\t%s\t%s\t%s\n", k.Key, k.Label, until)
	}
	return w.Flush()
}

func newUserPasswdCommand(o *operatorOptions) *cobra.Command {
	var stdin, revoke bool
	cmd := &cobra.Command{
		Use: "passwd NAME", Short: "Give a user another password", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeUsers,
		Long: `Gives a user a password that is made up and printed once, or the first line of stdin. Where they are
logged in they stay, unless --revoke ends that; what they have failed until now is forgiven.`,
		Example: "  hermesd user passwd ana\n  pass lab/ana | hermesd user passwd ana --password-stdin --revoke",
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := givenPassword(cmd, stdin)
			if err != nil {
				return err
			}
			changed, err := askOperator[api.PasswordChanged](cmd, o, api.OpUserPassword, api.UserPassword{User: args[0], Password: password, Revoke: revoke})
			if err != nil {
				return err
			}
			if !o.format.human() && stdin {
				return o.format.print(cmd.OutOrStdout(), changed)
			}
			if !o.format.human() {
				return o.format.print(cmd.OutOrStdout(), struct {
					api.PasswordChanged
					Password string `json:"password"`
				}{changed, password})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s has another password; logins ended: %d, kept: %d\n", changed.User, len(changed.Revoked), changed.Kept)
			if !stdin {
				fmt.Fprintf(cmd.OutOrStdout(), "password: %s\n", password)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "take the password from the first line of stdin")
	cmd.Flags().BoolVar(&revoke, "revoke", false, "end all logins of the user")
	return cmd
}

func newUserRemoveCommand(o *operatorOptions) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Remove a user, with all functions and the output of all runs", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeUsers,
		Long: `Ends the keys and what is connected with them, cancels what runs, deletes the functions and the output,
and forgets the password. What is kept of them in events, views, content and the audit is removed right behind
that; that there was the name stays, and it is given to nobody else.`,
		Example: "  hermesd user remove ana",
		RunE: func(cmd *cobra.Command, args []string) error {
			gone, err := askOperator[api.Unregistered](cmd, o, api.OpUserRemove, api.UserRef{User: args[0]})
			if err != nil {
				return err
			}
			if !o.format.human() {
				return o.format.print(cmd.OutOrStdout(), gone)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "removed %s: %d function versions deleted, %d executions cancelled\n", gone.User, gone.Functions, gone.Cancelled)
			return err
		},
	}
}
