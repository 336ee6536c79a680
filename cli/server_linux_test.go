package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hermes-serverless/hermes/services/accounts"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/watcher/fake"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
	gpufake "github.com/hermes-serverless/hermes/services/watcher/gpu/fake"
)

// serveForScript is a Hermes instance whose functions are local processes: hermesd DATA [LISTEN].
// It writes the NATS contexts of the script's home and runs until it is interrupted. With the
// variable ALLOW_NETWORK functions may ask for a network, with FAKE_GPU there is a GPU.
func serveForScript() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hermesd:", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, args []string) error {
	dir, listen := args[0], "127.0.0.1:0"
	if len(args) > 1 {
		listen = args[1]
	}
	data, err := instance.OpenDataDir(dir)
	if err != nil {
		return err
	}
	boxes := filepath.Join(dir, "boxes")
	if err := os.MkdirAll(boxes, 0o700); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	var certificate *instance.Certificate
	if os.Getenv("HERMES_TEST_TLS") != "" {
		if certificate, err = instance.SelfSigned(filepath.Join(dir, "tls"), host); err != nil {
			return err
		}
	}
	var gpus gpu.Inventory
	if os.Getenv("FAKE_GPU") != "" {
		gpus = gpufake.New(gpufake.Whole(1, "NVIDIA H100", 80<<30))
	}
	in, err := instance.Start(ctx, instance.Options{
		Certificate: certificate, GPUs: gpus,
		Data: data, Listen: listen, Sync: "1s", Slots: 4, Grace: 100 * time.Millisecond, StopGrace: 10 * time.Second,
		Runtime: fake.New(boxes), Network: os.Getenv("ALLOW_NETWORK") != "", User: "tiago", Version: "0.0.1",
		Accounts: instance.AccountOptions{
			Registration: api.Registration(os.Getenv("HERMES_TEST_REGISTRATION")), PasswordCost: accounts.Cost{MemoryKiB: 64, Passes: 1, Lanes: 1},
		},
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return in.Stop()
}
