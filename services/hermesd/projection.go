package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/projector"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

func newProjectionCommand() *cobra.Command {
	var natsContext string
	var out format
	cmd := &cobra.Command{
		Use:   "projection",
		Short: "Compare the views with their streams, or restore them",
		Long: `A view is the fold of a stream. verify folds each stream anew and compares; rebuild restores what
differs. Both work on a running instance, which goes on meanwhile.`,
	}
	contextFlag(cmd.PersistentFlags(), &natsContext)
	out.flags(cmd, cmd.PersistentFlags())
	cmd.AddCommand(
		&cobra.Command{
			Use: "verify", Short: "Compare every view with a fresh fold", Args: cobra.NoArgs,
			Example: "  hermesd projection verify",
			RunE: func(cmd *cobra.Command, _ []string) error {
				return eachProjection(cmd, natsContext, out, "differs", (*projector.Projector).VerifyEach)
			},
		},
		&cobra.Command{
			Use: "rebuild", Short: "Restore every view from its stream", Args: cobra.NoArgs,
			Example: "  hermesd projection rebuild",
			RunE: func(cmd *cobra.Command, _ []string) error {
				return eachProjection(cmd, natsContext, out, "corrected", (*projector.Projector).RebuildEach)
			},
		},
	)
	return cmd
}

// errDiffers: verify found something. Rebuild mends it.
var errDiffers = errors.New("a view differs from its stream: run `hermesd projection rebuild`")

// maxShown is how many differences of a bucket are shown: a bucket that was lost has millions.
const maxShown = 100

// viewCheck is what was found in a bucket.
type viewCheck struct {
	Bucket string `json:"bucket"`
	// Count is how many differences there were, Differences the first of them.
	Count       int              `json:"count"`
	Differences []viewDifference `json:"differences"`
}

// viewDifference is a key whose value is not what the fold says; empty for none.
type viewDifference struct {
	Key  string `json:"key"`
	Have string `json:"have"`
	Want string `json:"want"`
}

func eachProjection(cmd *cobra.Command, natsContext string, out format, word string, do func(*projector.Projector, context.Context, func(projector.Difference)) error) error {
	nc, err := connectOperator(natsContext)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	// Little of what a fold allocates lives long, and this process does nothing else.
	defer debug.SetGCPercent(debug.SetGCPercent(200))
	w, found, sums, checks := cmd.OutOrStdout(), 0, []string{}, []viewCheck{}
	for _, p := range instance.Projectors(js, instance.OpenLogs(js), slog.New(slog.DiscardHandler)) {
		check := viewCheck{Bucket: p.Bucket(), Differences: []viewDifference{}}
		err := do(p, cmd.Context(), func(d projector.Difference) {
			if check.Count++; check.Count > maxShown {
				return
			}
			check.Differences = append(check.Differences, viewDifference{Key: d.Key, Have: string(d.Have), Want: string(d.Want)})
			if out.human() {
				fmt.Fprintf(w, "%s %s: %s\n  have %s\n  want %s\n", check.Bucket, d.Key, word, orNothing(d.Have), orNothing(d.Want))
			}
		})
		if err != nil {
			return err
		}
		found += check.Count
		checks = append(checks, check)
		sums = append(sums, fmt.Sprintf("%s: %d %s", check.Bucket, check.Count, word))
		if !out.human() {
			continue
		}
		if check.Count > maxShown {
			fmt.Fprintf(w, "%s: the first %d are shown\n", check.Bucket, maxShown)
		}
		fmt.Fprintln(w, sums[len(sums)-1])
	}
	if !out.human() {
		if err := printAll(out, w, checks); err != nil {
			return err
		}
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
