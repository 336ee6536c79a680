package commandline

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

// unknownCommand is the name of the error about a word that is no command.
const unknownCommand = "UnknownCommand"

// Prepare makes a program's commands refuse what they do not understand as this package says it: words that
// are no commands, flags, arguments, and flags that are missing. All commands must be there.
func Prepare(root *cobra.Command) {
	root.SetFlagErrorFunc(UsageOf)
	root.InitDefaultCompletionCmd()
	help(root)
	for _, cmd := range root.Commands() {
		if cmd.Example == "" && (cmd.Name() == "help" || cmd.Name() == "completion") {
			example(cmd)
		}
	}
	prepare(root)
}

// example gives cobra's own commands what all others have.
func example(cmd *cobra.Command) {
	cmd.Example = "  " + cmd.CommandPath() + " " + cmd.Root().Commands()[0].Name()
	for _, c := range cmd.Commands() {
		c.Example = "  " + c.CommandPath()
		cmd.Example = c.Example
	}
}

func prepare(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		prepare(c)
	}
	switch {
	case !cmd.Runnable() && cmd.HasSubCommands():
		group(cmd)
	case cmd.Runnable():
		check := Args(cmd.Args)
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return err
			}
			return required(cmd)
		}
	}
}

// group makes a command that only holds others: alone it shows its help, and a word that is
// none of them is an error that names the near ones. (cobra would show help and exit with 0.)
func group(cmd *cobra.Command) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return Unknown(cmd, args[0])
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// Unknown says that a word is no command below this one, and which one was probably meant.
func Unknown(cmd *cobra.Command, word string) error {
	e := api.Errorf(api.Invalid, unknownCommand, "%s has no command %q", cmd.CommandPath(), word)
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	near := Nearest(word, names)
	for _, name := range names {
		if near == "" && strings.HasPrefix(name, word) {
			near = name
		}
	}
	if near == "" {
		return e.WithHint("`%s --help` lists its commands", cmd.CommandPath())
	}
	return e.WithHint("did you mean `%s %s`?", cmd.CommandPath(), near)
}

// help makes `help` refuse a word that is no command. (cobra would show the help of what stands before it.)
func help(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "help" {
			continue
		}
		show := cmd.Run
		cmd.Run = nil
		cmd.RunE = func(cmd *cobra.Command, words []string) error {
			found, rest, err := root.Find(words)
			if err != nil {
				return UsageOf(root, err)
			}
			if len(rest) > 0 {
				return Unknown(found, rest[0])
			}
			show(cmd, words)
			return nil
		}
	}
}
