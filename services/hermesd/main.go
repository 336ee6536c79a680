// Command hermesd is the server of Hermes: everything on one machine (up), or the parts of it
// that run apart (serve, watcher). It is the only place that wires the parts together.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/commandline"
	"github.com/hermes-serverless/hermes/services/nice"
)

func main() {
	runtime.MemProfileRate = 0 // nobody can ask for such a profile, and what is kept for it stays
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := newRootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		commandline.Print(os.Stderr, "hermesd", describe(err))
		os.Exit(commandline.ExitCode(err))
	}
}

// describe gives every error the form in which it is told: what was wrong, what failed besides, and what to
// do next.
func describe(err error) *api.Error {
	e, known := api.AsError(err)
	if !known {
		return api.Errorf(api.Internal, api.InternalError, "%s", err)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return e
	}
	told := *e
	for _, besides := range joined.Unwrap()[1:] {
		told.Detail += describe(besides).Message + "\n"
	}
	return &told
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "hermesd",
		Short: "The server of Hermes, serverless for GPUs",
		Long: `hermesd turns this machine into a Hermes instance: it builds the folders that users deploy and
runs them in containers, and everything that happens is an event on JetStream.

Its exit codes are those of hermes: 2 wrong usage, 3 what was named is not there, 4 it is there already or in
another state, 5 not allowed, 6 a limit, 7 the instance cannot be reached, 1 everything else.`,
		Example:       "  hermesd up                       # everything on this machine\n  hermesd doctor                   # what is missing here, and the command that mends it",
		Version:       api.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newUpCommand(), newServeCommand(), newWatcherCommand(), newDoctorCommand(),
		newProjectionCommand(), newBaseCommand(), newBlobsCommand(), newBackupCommand(), newRestoreCommand(), newReplayCommand(),
		newNATSConfigCommand(), newUserCommand(), newAuditCommand(), newContainerdCommand())
	root.SetVersionTemplate("hermesd {{.Version}}\n")
	commandline.Prepare(root)
	return root
}

// newQuietLogger is newLogger for a command that a person looks at: it writes warnings only.
func newQuietLogger(verbose bool) *slog.Logger {
	if verbose {
		return newLogger(true)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// raisePriority is for who serves others; without the right to do so it is as it was.
func raisePriority(log *slog.Logger) {
	if err := nice.Raise(); err != nil {
		log.Debug("the services have no higher priority than functions", "err", err)
	}
}

// newLogger writes structured logs to stderr; stdout is for what was asked for.
func newLogger(verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
