package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
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

A moment is written 2026-12-06T12:03:05Z, "2026-12-06 12:03:05", 12:03:05, or -2h for two hours ago.`,
		Example: "  hermesd replay --until 12:03:05\n  hermesd replay --until -2h --user ana &\n  hermes --context hermes-past-ana execution list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			moment, err := parseMoment(until, time.Now())
			if err != nil {
				return fmt.Errorf("--until %w", err)
			}
			for _, user := range users {
				if err := events.CheckUserName(user); err != nil {
					return fmt.Errorf("--user: %w", err)
				}
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
				Source: js, Until: moment, Users: users, Parent: parent, Version: api.Version, Log: newQuietLogger(verbose),
				Ready: func(contexts []string, events int) {
					fmt.Fprintf(cmd.OutOrStdout(), "This is how things were at %s, after %d events. Look at it with\n", moment.Local().Format(time.DateTime), events)
					for _, name := range contexts {
						what := "execution list"
						if name == instance.PastContext+"operator" {
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

// parseMoment reads a moment that has been. What has no zone is local.
func parseMoment(text string, now time.Time) (time.Time, error) {
	moment := time.Time{}
	if ago, err := time.ParseDuration(text); err == nil && strings.HasPrefix(text, "-") {
		moment = now.Add(ago)
	}
	for _, form := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			moment = t
		}
	}
	for _, form := range []string{"15:04:05", "15:04"} {
		t, err := time.ParseInLocation(form, text, now.Location())
		if err != nil {
			continue
		}
		moment = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), now.Location())
		if moment.After(now) {
			moment = moment.AddDate(0, 0, -1)
		}
	}
	switch {
	case moment.IsZero():
		return moment, fmt.Errorf(`%q: must be a moment such as 2026-12-06T12:03:05Z, "2026-12-06 12:03:05", 12:03:05 or -2h`, text)
	case moment.After(now):
		return moment, fmt.Errorf("%q: is still to come", text)
	}
	return moment, nil
}
