package main

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/commandline"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/moment"
)

func newReplayCommand() *cobra.Command {
	var natsContext, until, parent string
	var users []string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "replay --until TIME",
		Short: "Look at how everything was at a moment",
		Long: `Copies the logs of a running instance up to a moment, folds them in an instance of its own and lets you look
at it: list, inspect, history and events answer as they would have then. Nothing can be run or changed,
the instance itself is not touched, and of what was printed nothing is copied. Ctrl-C ends it, and
nothing is left.

A moment is written ` + moment.Help + `.`,
		Example: "  hermesd replay --until 12:03:05\n  hermesd replay --until -2h --user ana &\n  hermes --context hermes-past-ana execution list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			then, err := pastMoment(until, time.Now())
			for _, user := range users {
				if wrong := events.CheckUserName(user); wrong != nil && err == nil {
					err = fmt.Errorf("--user: %w", wrong)
				}
			}
			if err != nil {
				return commandline.UsageOf(cmd, err)
			}
			nc, err := connectOperator(natsContext)
			if err != nil {
				return err
			}
			defer nc.Close()
			js, err := jetstream.New(nc)
			if err != nil {
				return err
			}
			return instance.Replay(cmd.Context(), instance.ReplayOptions{
				Source: js, Until: then, Users: users, Parent: parent, Version: api.Version, Log: newQuietLogger(verbose),
				Ready: func(contexts []string, events int) {
					fmt.Fprintf(cmd.OutOrStdout(), "This is how things were at %s, after %d events. Look at it with\n", then.Local().Format(time.DateTime), events)
					for i, name := range contexts {
						what := "execution list"
						if i == 0 {
							what = "events --all --since 24h"
						}
						fmt.Fprintf(cmd.OutOrStdout(), "  hermes --context %s %s\n", name, what)
					}
					fmt.Fprintln(cmd.OutOrStdout(), "Ctrl-C ends it.")
				},
			})
		},
	}
	contextFlag(cmd.Flags(), &natsContext)
	f := cmd.Flags()
	f.StringVar(&until, "until", "", "the `moment`")
	f.StringArrayVar(&users, "user", nil, "look at it as this `user`; may be repeated (default: everybody)")
	f.StringVar(&parent, "data", "", "a `directory` in which there is room for a copy of the logs (default: the system's for temporary files)")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more")
	_ = cmd.MarkFlagRequired("until")
	return cmd
}

// pastMoment reads a moment that has been.
func pastMoment(text string, now time.Time) (time.Time, error) {
	t, err := moment.Flag("until", text, now)
	switch {
	case err != nil:
		return t, err
	case t.IsZero():
		return t, fmt.Errorf(`--until "": must be a time: %s`, moment.Help)
	case t.After(now):
		return t, fmt.Errorf("--until %q: is still to come", text)
	}
	return t, nil
}
