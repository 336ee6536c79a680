package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/projector"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

func newProjectionCommand() *cobra.Command {
	var natsContext string
	cmd := &cobra.Command{
		Use:   "projection",
		Short: "Compare the views with their streams, or restore them",
		Long: `A view is the fold of a stream. verify folds each stream anew and compares; rebuild restores what
differs. Both work on a running instance, which goes on meanwhile.`,
	}
	contextFlag(cmd.PersistentFlags(), &natsContext)
	cmd.AddCommand(
		&cobra.Command{
			Use: "verify", Short: "Compare every view with a fresh fold", Args: cobra.NoArgs,
			Example: "  hermesd projection verify",
			RunE: func(cmd *cobra.Command, _ []string) error {
				return eachProjection(cmd, natsContext, "differs", (*projector.Projector).Verify)
			},
		},
		&cobra.Command{
			Use: "rebuild", Short: "Restore every view from its stream", Args: cobra.NoArgs,
			Example: "  hermesd projection rebuild",
			RunE: func(cmd *cobra.Command, _ []string) error {
				return eachProjection(cmd, natsContext, "corrected", (*projector.Projector).Rebuild)
			},
		},
	)
	return cmd
}

// errDiffers: verify found something. Rebuild mends it.
var errDiffers = errors.New("a view differs from its stream: run `hermesd projection rebuild`")

func eachProjection(cmd *cobra.Command, natsContext, word string, do func(*projector.Projector, context.Context) ([]projector.Difference, error)) error {
	nc, err := connectOperator(natsContext)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	out, found, sums := cmd.OutOrStdout(), 0, []string{}
	for _, p := range instance.Projectors(js, instance.OpenLogs(js), slog.New(slog.DiscardHandler)) {
		differences, err := do(p, cmd.Context())
		if err != nil {
			return err
		}
		found += len(differences)
		for _, d := range differences {
			fmt.Fprintf(out, "%s %s: %s\n  have %s\n  want %s\n", p.Bucket(), d.Key, word, orNothing(d.Have), orNothing(d.Want))
		}
		fmt.Fprintf(out, "%s: %d %s\n", p.Bucket(), len(differences), word)
		sums = append(sums, fmt.Sprintf("%s: %d %s", p.Bucket(), len(differences), word))
	}
	if word == "corrected" {
		return recordAct(cmd.Context(), js, events.OperatorActed{Action: "projection.rebuild", Detail: strings.Join(sums, ", ")})
	}
	if found > 0 && word == "differs" {
		return errDiffers
	}
	return nil
}

func orNothing(value []byte) string {
	if value == nil {
		return "nothing"
	}
	return string(value)
}
