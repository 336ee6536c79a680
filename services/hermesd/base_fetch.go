package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/base"
	"github.com/hermes-serverless/hermes/services/base/image"
)

func newBasePullCommand(o *baseCommand) *cobra.Command {
	b := &bringing{common: o}
	var name string
	cmd := b.flags(&cobra.Command{
		Use:   "pull REFERENCE",
		Short: "Import an image from a registry",
		Long: `Imports an image from a registry, as import does from a file. Who needs to sign in does it with
docker login or podman login. Without --name the base has the image's own name: gcc for
docker.io/library/gcc:14.`,
		Example: "  hermesd base pull gcc:14\n  hermesd base pull registry.example.org/lab/cuda@sha256:… --name cuda",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, own, err := image.ParseReference(args[0])
			if err != nil {
				return err
			}
			if b.name = name; name == "" {
				b.name = own
			}
			b.fill = func(ctx context.Context, _ string, into *os.Root) (base.Manifest, string, error) {
				m, digest, err := image.Pull(ctx, ref, b.architecture, into)
				return m, fmt.Sprintf("%s (%s)", args[0], digest), err
			}
			return b.run(cmd)
		},
	})
	cmd.Flags().StringVar(&name, "name", "", "`name` of the base")
	return cmd
}

func newBaseBuildCommand(o *baseCommand) *cobra.Command {
	b := &bringing{common: o}
	var d image.Debian
	cmd := b.flags(&cobra.Command{
		Use:   "build NAME",
		Short: "Build a base of Debian packages with mmdebstrap",
		Long: `Builds a small Debian with these packages from the mirrors that this machine's apt uses. Functions are
built with make, so that a base to build on needs that and a compiler.`,
		Example: "  hermesd base build small --packages g++,make\n  hermesd base build scripts --packages make,python3 --suite trixie",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b.name = args[0]
			d.Log = cmd.ErrOrStderr()
			if err := d.Check(); err != nil {
				return err
			}
			b.fill = func(ctx context.Context, _ string, into *os.Root) (base.Manifest, string, error) {
				m, err := d.Build(ctx, b.architecture, into)
				return m, fmt.Sprintf("mmdebstrap %s: %s", d.Suite, strings.Join(d.Packages, ",")), err
			}
			return b.run(cmd)
		},
	})
	cmd.Flags().StringSliceVar(&d.Packages, "packages", nil, "Debian `packages`, separated by commas")
	cmd.Flags().StringVar(&d.Suite, "suite", "bookworm", "Debian `suite`")
	_ = cmd.MarkFlagRequired("packages")
	return cmd
}
