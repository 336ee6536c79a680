package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

func newNATSConfigCommand() *cobra.Command {
	f := instance.NATSFiles{}
	var t tlsFlags
	cmd := &cobra.Command{
		Use:   "nats-config",
		Short: "Write the configuration and the keys for a NATS server of your own",
		Long: `Writes nats.conf, with the accounts and permissions of Hermes, and a key for the services, the
operator, each watcher and each user. Keys that are there already stay: call it again to add a name.`,
		Example: `  hermesd nats-config --dir /etc/hermes --watchers gpu1,gpu2 --users ana
  nats-server -c /etc/hermes/nats.conf
  hermesd serve --nats nats://127.0.0.1:4222 --creds /etc/hermes/keys/services.nk
  hermesd watcher --nats nats://127.0.0.1:4222 --creds /etc/hermes/keys/watcher-gpu1.nk --name gpu1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if f.Certificate, err = t.certificate(f.Listen, filepath.Join(f.Dir, "tls")); err != nil {
				return err
			}
			files, err := instance.WriteNATSFiles(f)
			if err != nil {
				return err
			}
			for _, file := range files {
				fmt.Fprintln(cmd.OutOrStdout(), file)
			}
			if f.Certificate != nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s\ncertificate: %s\n", f.Certificate.CertFile, f.Certificate.Fingerprint)
			}
			return nil
		},
	}
	t.flags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.Dir, "dir", "/etc/hermes", "`directory` for nats.conf and keys/")
	flags.StringVar(&f.Listen, "listen", defaultListen, "`host:port` for clients; off loopback only with TLS")
	flags.StringVar(&f.StoreDir, "store-dir", "/var/lib/nats", "JetStream's `directory` on the server's machine")
	flags.StringVar(&f.Sync, "sync", "always", "`always`, or a duration such as 100ms")
	flags.StringSliceVar(&f.Watchers, "watchers", nil, "`names` of the watchers, with commas between")
	flags.StringSliceVar(&f.Users, "users", nil, "`names` of the users, with commas between")
	return cmd
}
