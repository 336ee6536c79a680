package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/watcher/containerd"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
	"github.com/hermes-serverless/hermes/services/watcher/gpu/nvml"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// systemContainerd is where a containerd of the machine's own listens.
const systemContainerd = "/run/containerd/containerd.sock"

// boxes is the runtime, the GPUs that it gives, and the containerd below it when it is our own.
type boxes struct {
	runtime    sandbox.Runtime
	gpus       gpu.Inventory
	supervised *containerd.Supervised
}

// openRuntime connects to the containerd that was named, or to the machine's own, or starts one.
func openRuntime(ctx context.Context, dataDir, address string, network networkOptions, log *slog.Logger) (*boxes, error) {
	networks, err := network.networks()
	if err != nil {
		return nil, err
	}
	libexec, err := containerd.FindLibexec()
	if err != nil {
		return nil, fmt.Errorf("%w: run deployments/setup.sh, or `hermesd doctor` for details", err)
	}
	if libexec.Warning != "" {
		log.Warn(libexec.Warning)
	}
	b := &boxes{gpus: nvml.Open(log.With("part", "gpus"))}
	if address, err = b.address(ctx, dataDir, address, log); err != nil {
		return nil, err
	}
	if b.supervised == nil {
		libexec.Launch = "" // the shims of a containerd that is not ours call runc
	}
	libexec.Launch = launcher(ctx, libexec.Launch, log)
	b.runtime, err = containerd.New(ctx, containerd.Options{
		Address: address, StateDir: filepath.Join(dataDir, "sandboxes"), Libexec: libexec, Logger: log,
		AllowNetwork: network.allow, AllowNetworkTo: networks, Devices: b.gpus.Edits,
	})
	if err != nil {
		return nil, errors.Join(err, b.stop())
	}
	return b, nil
}

// launcher is the path, or "" if what is there does not come up: runc does the same.
func launcher(ctx context.Context, path string, log *slog.Logger) string {
	if path == "" {
		return ""
	}
	if err := containerd.Launches(ctx, path); err != nil {
		log.Warn("runc starts containers instead of hermes-launch, which takes longer: run deployments/setup.sh", "err", err)
		return ""
	}
	return path
}

func (b *boxes) address(ctx context.Context, dataDir, address string, log *slog.Logger) (string, error) {
	try, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if address != "" {
		if err := containerd.Answers(try, address); err != nil {
			return "", fmt.Errorf("no containerd answers at %s: %w: start it, or leave --containerd out to have one of hermesd's own", address, err)
		}
		return address, nil
	}
	if containerd.Answers(try, systemContainerd) == nil {
		log.Info("using the machine's containerd", "address", systemContainerd)
		return systemContainerd, nil
	}
	dir := containerdDir(dataDir)
	supervised, err := containerd.Supervise(context.WithoutCancel(ctx), containerd.SuperviseOptions{
		Dir: dir, Args: []string{"containerd", "--dir", dir}, Logger: log,
	})
	if err != nil {
		return "", fmt.Errorf("start containerd: %w: `hermesd doctor` tells what is missing", err)
	}
	b.supervised = supervised
	return supervised.Address(), nil
}

// stop ends our own containerd, if there is one, and lets go of the GPUs. The runtime has been closed by
// its user.
func (b *boxes) stop() error {
	err := b.gpus.Close()
	if b.supervised != nil {
		err = errors.Join(err, b.supervised.Stop())
	}
	return err
}

// close ends the runtime and then containerd.
func (b *boxes) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return errors.Join(b.runtime.Close(ctx), b.stop())
}

func newContainerdCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:    "containerd",
		Short:  "Be the containerd below hermesd (hermesd starts this itself)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			go tidyMemory(cmd.Context())
			return containerd.Serve(cmd.Context(), dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "its `directory`")
	_ = cmd.MarkFlagRequired("dir")
	return cmd
}
