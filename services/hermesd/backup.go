package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/backup"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

func newBackupCommand() *cobra.Command {
	var natsContext, dataDir string
	var streamsOnly bool
	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy a running instance into a folder",
		Long: `Copies everything that a running instance keeps into a new or empty folder, while it goes on: streams,
blobs, output, and the keys and certificate of --data-dir. All that was acknowledged before is
in it. hermesd restore makes an instance of it again.

The folder holds secrets: whoever has it can act as the operator. Only you can read it.`,
		Example: "  hermesd backup /backup/hermes-$(date +%F)\n  hermesd backup /backup/today --data-dir /srv/hermes",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			files := map[string]string{}
			if !streamsOnly {
				var err error
				if files, err = instance.SecretFiles(dataDir); err != nil {
					return err
				}
			}
			nc, err := connectOperator(natsContext)
			if err != nil {
				return err
			}
			defer nc.Close()
			m, err := backup.Make(cmd.Context(), backup.Options{
				Conn: nc, Dir: args[0], Files: files, Version: api.Version, Now: time.Now, Progress: tellStream(cmd.ErrOrStderr(), "copied"),
			})
			if err != nil {
				return err
			}
			js, err := jetstream.New(nc)
			if err != nil {
				return err
			}
			if err := recordAct(cmd.Context(), js, events.OperatorActed{Action: "backup", Detail: fmt.Sprintf("%d streams, %d keys and certificates", len(m.Streams), len(files))}); err != nil {
				return err
			}
			size := int64(0)
			for _, f := range m.Files {
				size += f.Bytes
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s holds all that was acknowledged before %s: %d streams, %d keys and certificates, %s\n",
				args[0], m.Begun.Local().Format(time.DateTime), len(m.Streams), len(files), humanize.IBytes(uint64(size)))
			if len(files) > 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "It holds the instance's keys: keep it where nobody else can read it.")
			} else {
				fmt.Fprintln(cmd.ErrOrStderr(), "The keys are not in it: keep a copy of them elsewhere, or users and watchers have to be let in anew. Hashes of passwords are.")
			}
			return nil
		},
	}
	contextFlag(cmd.Flags(), &natsContext)
	f := cmd.Flags()
	f.StringVar(&dataDir, "data-dir", defaultDataDir, "the instance's `directory`, for its keys")
	f.BoolVar(&streamsOnly, "streams-only", false, "leave the keys out, as for a NATS server of your own")
	return cmd
}

// tellStream says which streams are done.
func tellStream(w io.Writer, did string) func(backup.Stream) {
	return func(s backup.Stream) {
		fmt.Fprintf(w, "%s %s: %d messages, %s\n", did, s.Name, s.Messages, humanize.IBytes(uint64(s.Bytes)))
	}
}

func newRestoreCommand() *cobra.Command {
	var dataDir string
	var overwrite, verbose bool
	cmd := &cobra.Command{
		Use:   "restore DIR",
		Short: "Make an instance of a backup",
		Long: `Makes an instance of what hermesd backup has copied, in a --data-dir that no hermesd uses; hermesd up
starts it then. Before anything is changed each file is compared with its sum. Executions that ran when
the copy was made are found lost, and tried again if they asked for that; what was queued is queued.

An instance that is there is only replaced with --overwrite, and when the restored one is whole.`,
		Example: "  hermesd restore /backup/hermes-2026-12-06\n  hermesd restore /backup/today --data-dir /srv/scratch",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := backup.Read(args[0]); err != nil {
				return err
			}
			data, err := instance.OpenDataDir(dataDir)
			if errors.Is(err, instance.ErrInUse) {
				return fmt.Errorf("%w: it is restored while nothing runs on it", err)
			}
			if err != nil {
				return err
			}
			m, err := instance.Restore(cmd.Context(), instance.RestoreOptions{
				Backup: args[0], Data: data, Overwrite: overwrite, Log: newQuietLogger(verbose), Progress: tellStream(cmd.ErrOrStderr(), "restored"),
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is the instance of %s again. Start it: hermesd up --data-dir %s\n",
				dataDir, m.Begun.Local().Format(time.DateTime), dataDir)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&dataDir, "data-dir", defaultDataDir, "the `directory` of the instance to be")
	f.BoolVar(&overwrite, "overwrite", false, "replace the instance that is there")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more")
	return cmd
}
