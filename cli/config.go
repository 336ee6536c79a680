package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/cli/config"
	"github.com/hermes-serverless/hermes/services/api"
)

type configOptions struct {
	app *app
	// key is empty to show everything; set says that value is to be written.
	key, value string
	set        bool
}

func newConfigCmd(a *app, run func(*configOptions) error) *cobra.Command {
	opts := &configOptions{app: a}
	if run == nil {
		run = runConfig
	}
	return &cobra.Command{
		Use:   "config [NAME] [VALUE]",
		Short: "Show or change the settings of this program",
		Long: `Without arguments, shows every setting; with a name, that one; with a value, changes it.
An empty value ("") puts the default back.

  context   the NATS context in use: which server, and as whom
  output    what --output is when it is not given: table, json or jsonl`,
		Example: "  hermes config\n  hermes config context lab\n  hermes config context \"\"",
		Args:    cobra.MaximumNArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return config.Keys(), cobra.ShellCompDirectiveNoFileComp
			}
			switch {
			case len(args) > 1:
			case args[0] == config.KeyContext:
				return contextNames(), cobra.ShellCompDirectiveNoFileComp
			case args[0] == config.KeyOutput:
				return formats(), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				opts.key = args[0]
			}
			if len(args) > 1 {
				opts.value, opts.set = args[1], true
			}
			return run(opts)
		},
	}
}

func runConfig(o *configOptions) error {
	settings, err := config.Load()
	if err != nil {
		return err
	}
	switch {
	case o.set:
		return o.change(settings)
	case o.key != "":
		return o.show(settings)
	}
	return o.showAll(settings)
}

// checkKey keeps the first Hermes' exit code for a setting that is none.
func (o *configOptions) checkKey() error {
	var unknown *config.UnknownKeyError
	if err := config.Check(o.key); errors.As(err, &unknown) {
		return &exitError{code: exitFailed, err: api.Errorf(api.Invalid, unknownSetting, "%v", err).
			WithHint("`hermes config` shows them")}
	}
	return nil
}

func (o *configOptions) change(settings config.Config) error {
	if err := o.checkKey(); err != nil {
		return err
	}
	if err := o.checkValue(); err != nil {
		return err
	}
	if err := settings.Set(o.key, o.value); err != nil {
		return err
	}
	return settings.Save()
}

func (o *configOptions) checkValue() error {
	if o.value == "" {
		return nil
	}
	switch o.key {
	case config.KeyOutput:
		_, err := parseFormat(o.value)
		return err
	case config.KeyContext:
		dir, err := config.Dir()
		if err != nil {
			return err
		}
		_, err = loadContext(dir, o.value)
		return err
	}
	return nil
}

func (o *configOptions) show(settings config.Config) error {
	if err := o.checkKey(); err != nil {
		return err
	}
	if !o.app.human() {
		return o.app.printJSON(map[string]string{o.key: settings[o.key]})
	}
	_, err := fmt.Fprintln(o.app.streams.Out, settings[o.key])
	return err
}

func (o *configOptions) showAll(settings config.Config) error {
	if !o.app.human() {
		all := map[string]string{}
		for _, key := range config.Keys() {
			all[key] = settings[key]
		}
		return o.app.printJSON(all)
	}
	for _, key := range config.Keys() {
		if _, err := fmt.Fprintf(o.app.streams.Out, "%s = %s\n", key, settings[key]); err != nil {
			return err
		}
	}
	return nil
}
