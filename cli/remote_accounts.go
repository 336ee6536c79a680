package cli

import (
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

// noAccountsYet are the first Hermes' commands that need accounts, and what works instead.
var noAccountsYet = []struct{ name, instead string }{
	{"login", "`hermes config context NAME` chooses the NATS context, and with it who you are"},
	{"logout", "`hermes config context NAME` chooses another NATS context"},
	{"register", "`hermesd up` makes a user of who starts it; elsewhere the operator makes one: `hermesd nats-config --users NAME`"},
	{"unregister", "the operator can take the user's key out of the server's configuration"},
	{"add", "a server is a NATS context: `nats context add NAME`, then `hermes config context NAME`"},
}

// newNoAccountsCmds are refused by name: who knows the first Hermes tries them.
func newNoAccountsCmds() []*cobra.Command {
	var cmds []*cobra.Command
	for _, c := range noAccountsYet {
		cmds = append(cmds, &cobra.Command{
			Use: c.name, Hidden: true, Short: "Not there yet", Example: "  hermes remote whoami",
			// Whatever flags the first Hermes had: the answer is the same.
			DisableFlagParsing: true,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return api.Errorf(api.Invalid, notThereYet, "`%s` is not there yet: this version has no accounts", cmd.CommandPath()).
					WithHint("%s", c.instead)
			},
		})
	}
	return cmds
}
