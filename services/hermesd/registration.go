package main

import (
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// registration is the flag that says who may register.
type registration struct{ word *api.Registration }

func newRegistration() registration {
	closed := api.RegistrationClosed
	return registration{&closed}
}

func (r registration) flag(cmd *cobra.Command) {
	cmd.Flags().Var(r, "registration", "`who` may register: closed (users are added by `hermesd user add`), invite (with a token of `hermesd user invite`) or open")
}

func (r registration) options() instance.AccountOptions {
	return instance.AccountOptions{Registration: *r.word}
}

// String, Set and Type implement pflag.Value.
func (r registration) String() string {
	if r.word == nil {
		return ""
	}
	return string(*r.word)
}

func (r registration) Set(word string) (err error) {
	*r.word, err = api.ParseRegistration(word)
	return err
}

func (r registration) Type() string { return "policy" }
