package main

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/retention"
)

// asLongAsTheLog is a time in which executions refer to content as long as the log has their events: what
// the instance was told of it is not known here, and a guess would take away what it keeps.
const asLongAsTheLog = 100 * 365 * 24 * time.Hour

func newBlobsCommand() *cobra.Command {
	var natsContext string
	cmd := &cobra.Command{
		Use:   "blobs",
		Short: "Look after the bundles, artifacts, inputs and images that are stored",
	}
	contextFlag(cmd.PersistentFlags(), &natsContext)
	cmd.AddCommand(newBlobsCollectCommand(&natsContext))
	return cmd
}

func newBlobsCollectCommand(natsContext *string) *cobra.Command {
	grace, keep := keepTime(0), keepTime(asLongAsTheLog)
	var dry bool
	var out format
	cmd := &cobra.Command{
		Use:   "collect",
		Short: "Remove what nothing refers to any more",
		Long: `Removes content that no version of a function, no base and no execution refers to any more: an
execution does while it lives, and its events do for --keep-executions. What is younger than --grace
stays, for somebody may be about to refer to it. A running instance does the same once a day, with the
--keep-executions that it was started with.`,
		Example: "  hermesd blobs collect --dry-run\n  hermesd blobs collect --keep-executions 7d -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			nc, err := connectOperator(*natsContext)
			if err != nil {
				return err
			}
			defer nc.Close()
			js, err := jetstream.New(nc)
			if err != nil {
				return err
			}
			collector, err := instance.NewCollector(cmd.Context(), js, instance.Keep{Executions: time.Duration(keep)}, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			if grace > 0 {
				collector.Grace = time.Duration(grace)
			}
			collector.DryRun = dry
			found, err := collector.Collect(cmd.Context())
			if err == nil && !dry {
				err = recordAct(cmd.Context(), js, events.OperatorActed{Action: "blobs.collect", Detail: fmt.Sprintf("%d blobs, %d bytes", len(found.Removed), found.RemovedBytes)})
			}
			if err != nil {
				return err
			}
			return printCollection(cmd.OutOrStdout(), found, dry, out)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&dry, "dry-run", false, "say what would go, and remove nothing")
	f.Var(&grace, "grace", "`how long` content stays that nothing refers to yet (default 24h)")
	f.Var(&keep, "keep-executions", "`how long` executions refer to what they were given, ran and made (default: as long as the log has their events)")
	out.flags(cmd, f)
	return cmd
}

func printCollection(w io.Writer, c retention.Collection, dry bool, out format) error {
	if !out.human() {
		return out.print(w, c)
	}
	did := "removed"
	if dry {
		did = "would remove"
	}
	for _, b := range c.Removed {
		if _, err := fmt.Fprintf(w, "%s %s, %s\n", did, b.Digest, humanize.IBytes(uint64(b.SizeBytes))); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s %d blobs (%s), %d uploads that never ended (%s), %d notes of who had uploaded what; %d blobs stay (%s)\n",
		did, len(c.Removed), humanize.IBytes(uint64(c.RemovedBytes)), c.Unfinished, humanize.IBytes(uint64(c.UnfinishedBytes)), c.Notes,
		c.Kept, humanize.IBytes(uint64(c.KeptBytes)))
	return err
}
