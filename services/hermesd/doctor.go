package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/watcher/containerd"
	"github.com/hermes-serverless/hermes/services/watcher/doctor"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
	"github.com/hermes-serverless/hermes/services/watcher/gpu/nvml"
)

// errUnfit: something that is needed is missing; what was printed says what.
var errUnfit = errors.New("this machine cannot run functions yet: see the lines that fail")

func newDoctorCommand() *cobra.Command {
	var dataDir, address string
	var out format
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Say what this machine lacks, and the command that mends it",
		Example: "  hermesd doctor\n  hermesd doctor --data-dir /srv/hermes --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			results := doctor.Run(cmd.Context(), doctorOptions(dataDir, address, false))
			if err := printResults(cmd.OutOrStdout(), results, out); err != nil {
				return err
			}
			if doctor.Worst(results) == doctor.Fail {
				return errUnfit
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&dataDir, "data-dir", defaultDataDir, "the instance's `directory`")
	f.StringVar(&address, "containerd", "", "`address` of a containerd to use")
	out.flags(cmd, f)
	return cmd
}

func doctorOptions(dataDir, address string, network bool) doctor.Options {
	// What is missing is one of the checks' results.
	programs, _ := containerd.FindLibexec()
	return doctor.Options{
		DataDir: dataDir, Address: address, Answers: containerd.Answers,
		Runc: programs.Runc, Init: programs.Init, Launch: programs.Launch, Launches: containerd.Launches, Network: programs.Network, NeedsNetwork: network,
		GPUs: func() (gpu.Machine, error) {
			driver := nvml.Open(slog.New(slog.DiscardHandler))
			defer driver.Close() //nolint:errcheck // only looked at
			return driver.List()
		},
	}
}

func printResults(w io.Writer, results []doctor.Result, out format) error {
	if !out.human() {
		return printAll(out, w, results)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%s\t%s\n", r.Status, r.Name, r.Detail)
		if r.Fix != "" {
			fmt.Fprintf(t, "\t\t→ %s\n", r.Fix)
		}
	}
	return t.Flush()
}

// requirements runs the checks and refuses to start on a machine that cannot run functions, with
// everything that is missing in one error.
func requirements(ctx context.Context, dataDir, address string, network bool) error {
	var missing []string
	for _, r := range doctor.Run(ctx, doctorOptions(dataDir, address, network)) {
		if r.Status == doctor.Fail {
			missing = append(missing, fmt.Sprintf("  %s: %s\n    → %s", r.Name, r.Detail, r.Fix))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("this machine cannot run functions yet:\n%s", strings.Join(missing, "\n"))
}
