package commandline

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hermes-serverless/hermes/services/api"
)

// Args makes cobra's check of arguments say which one is too many, or what is missing. Without one any
// will do.
func Args(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		check = cobra.ArbitraryArgs
	}
	return func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err == nil {
			return nil
		}
		var known *api.Error
		switch {
		case !errors.As(err, &known):
			err = wrongArgs(cmd, check, args)
		case known.Hint != "":
			return err // with the exit code that it may have
		}
		return UsageOf(cmd, err)
	}
}

func wrongArgs(cmd *cobra.Command, check cobra.PositionalArgs, args []string) error {
	if cmd.HasSubCommands() && len(args) > 0 {
		return Unknown(cmd, args[0])
	}
	_, takes, _ := strings.Cut(cmd.Use, " ")
	for n := len(args) - 1; n >= 0; n-- {
		if check(cmd, args[:n]) != nil {
			continue
		}
		if takes == "" {
			takes = "no argument"
		}
		return Usage("%s takes %s: %q is one too many", cmd.CommandPath(), takes, args[n])
	}
	return Usage("%s needs %s", cmd.CommandPath(), takes)
}

// required says which flags are missing that a command cannot do without.
func required(cmd *cobra.Command) error {
	var missing []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if slices.Contains(f.Annotations[cobra.BashCompOneRequiredFlag], "true") && !f.Changed {
			missing = append(missing, "--"+f.Name)
		}
	})
	if len(missing) == 0 {
		return nil
	}
	return UsageOf(cmd, Usage("%s needs %s", cmd.CommandPath(), strings.Join(missing, ", ")))
}
