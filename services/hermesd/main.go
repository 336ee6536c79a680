// Command hermesd is the server of Hermes: everything on one machine (up), or the parts of it
// that run apart (serve, watcher). It is the only place that wires the parts together.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/nice"
)

func main() {
	runtime.MemProfileRate = 0 // nobody can ask for such a profile, and what is kept for it stays
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := newRootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "hermesd: %v\n", err)
		os.Exit(1)
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "hermesd",
		Short: "The server of Hermes, serverless for GPUs",
		Long: `hermesd turns this machine into a Hermes instance: it builds the folders that users deploy and
runs them in containers, and everything that happens is an event on JetStream.`,
		Example:       "  hermesd up                       # everything on this machine\n  hermesd doctor                   # what is missing here, and the command that mends it",
		Version:       api.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newUpCommand(), newServeCommand(), newWatcherCommand(), newDoctorCommand(),
		newProjectionCommand(), newBaseCommand(), newBlobsCommand(), newBackupCommand(), newRestoreCommand(), newReplayCommand(),
		newNATSConfigCommand(), newUserCommand(), newAuditCommand(), newContainerdCommand())
	return root
}

// newQuietLogger is newLogger for a command that a person looks at: it writes warnings only.
func newQuietLogger(verbose bool) *slog.Logger {
	if verbose {
		return newLogger(true)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// newLogger writes structured logs to stderr; stdout is for what was asked for.
// raisePriority is for who serves others; without the right to do so it is as it was.
func raisePriority(log *slog.Logger) {
	if err := nice.Raise(); err != nil {
		log.Debug("the services have no higher priority than functions", "err", err)
	}
}

func newLogger(verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
