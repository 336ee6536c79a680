package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// linkedVersion is set by a release build: -ldflags "-X github.com/hermes-serverless/hermes/cli.linkedVersion=v1.2.3".
var linkedVersion string

// version is the release, else what the go tool knows of the source, else "dev".
func version() string {
	if linkedVersion != "" {
		return linkedVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "dev"
	}
	return info.Main.Version
}

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
		Args:    argsOf(cobra.NoArgs),
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
