package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/moment"
)

// serverInfo is what the server says of itself and where it was reached.
type serverInfo struct {
	Server  string `json:"server"`
	Context string `json:"context"`
	api.Info
}

func newRemoteInfoCmd(a *app, run func(*remoteOptions) error) *cobra.Command {
	if run == nil {
		run = runRemoteInfo
	}
	return &cobra.Command{
		Use:     "info",
		Short:   "Show the server, its version and its limits",
		Example: "  hermes remote info\n  hermes remote info --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(&remoteOptions{app: a, ctx: cmd.Context()})
		},
	}
}

func runRemoteInfo(o *remoteOptions) error {
	c, _, err := o.app.natsContext()
	if err != nil {
		return err
	}
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	info, err := api.Call[api.Info](o.ctx, client, api.OpInfo, api.InfoRequest{})
	if err != nil {
		return err
	}
	if !o.app.human() {
		return o.app.printJSON(serverInfo{Server: redacted(c.URL), Context: c.Name, Info: info})
	}
	fields := [][2]string{
		{"server", redacted(c.URL)}, {"context", c.Name}, {"user", info.User}, {"version", info.Version},
		{"largest input", size(info.MaxInputBytes)}, {"largest bundle", size(info.MaxBundleBytes)},
		{"network", networkOf(info)},
	}
	return o.app.printFields(o.app.streams.Out, append(fields, limitFields(info.Defaults, info.Maxima)...))
}

// networkOf is what a function's key "network" may say.
func networkOf(info api.Info) string {
	if info.Network {
		return "none (or outbound)"
	}
	return "none"
}

// limitFields says each limit's default and, in brackets, what a function may ask for.
func limitFields(defaults, maxima events.Limits) [][2]string {
	field := func(name string, say func(int64) string, value, most int64) [2]string {
		text := say(value)
		if text != "" && say(most) != "" {
			text += fmt.Sprintf(" (at most %s)", say(most))
		}
		return [2]string{name, text}
	}
	bytes := func(n int64) string {
		if n == 0 {
			return ""
		}
		return size(n)
	}
	count := func(n int64) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprint(n)
	}
	cores := func(n int64) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("%g", float64(n)/1000)
	}
	lasting := func(ms int64) string {
		if ms == 0 {
			return ""
		}
		return moment.Text(time.Duration(ms) * time.Millisecond)
	}
	return [][2]string{
		field("timeout", lasting, defaults.TimeoutMillis, maxima.TimeoutMillis),
		field("memory", bytes, defaults.MemoryBytes, maxima.MemoryBytes),
		field("cpus", cores, defaults.CPUMillis, maxima.CPUMillis),
		field("processes", count, defaults.PIDs, maxima.PIDs),
		field("/tmp", bytes, defaults.TmpBytes, maxima.TmpBytes),
		field("output", bytes, defaults.OutputBytes, maxima.OutputBytes),
		field("results", bytes, defaults.ResultsBytes, maxima.ResultsBytes),
	}
}
