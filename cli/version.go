package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

// version is the same as the server's of the same release, so that the two can be compared.
func version() string { return api.Version }

type versionOptions struct{ app *app }

func newVersionCmd(a *app, run func(*versionOptions) error) *cobra.Command {
	opts := &versionOptions{app: a}
	if run == nil {
		run = runVersion
	}
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Example: "  hermes version\n  hermes version --json",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return run(opts) },
	}
}

func runVersion(o *versionOptions) error {
	if !o.app.human() {
		return o.app.printJSON(map[string]string{
			"version": version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
		})
	}
	_, err := fmt.Fprintf(o.app.streams.Out, "hermes %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
