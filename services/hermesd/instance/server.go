package instance

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"

	natsconf "github.com/hermes-serverless/hermes/deployments/nats"
)

// readyWithin bounds the start of the embedded server; with a long history it reads its indexes.
const readyWithin = 60 * time.Second

// startServer renders the configuration, as an operator's own server would have it, and starts a
// NATS server in this process with it.
func startServer(dir *DataDir, conf natsconf.Config, log *slog.Logger) (*server.Server, error) {
	if err := CanListen(conf.Listen); err != nil {
		return nil, err
	}
	if host, port, err := net.SplitHostPort(conf.Listen); err == nil && port == "0" {
		// To the NATS server, 0 is its default port.
		conf.Listen = net.JoinHostPort(host, "-1")
	}
	file := dir.Path("nats.conf")
	var text bytes.Buffer
	if err := natsconf.Render(&text, conf); err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("write the NATS configuration: %w", err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		return nil, fmt.Errorf("the NATS configuration %s is wrong: %w", file, err)
	}
	opts.NoSigs = true
	if opts.MaxConn, err = maxConnections(opts.MaxConn); err != nil {
		return nil, err
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("start the embedded NATS server: %w", err)
	}
	s.SetLoggerV2(newNATSLogger(log.With("part", "nats")), false, false, false)
	go s.Start()
	if !s.ReadyForConnections(readyWithin) {
		s.Shutdown()
		return nil, fmt.Errorf("the embedded NATS server was not ready within %s: see its messages above", readyWithin)
	}
	return s, nil
}

// maxConnections leaves half of the process's file descriptors to the streams and all else: who only connects
// must not keep the server from opening its files. The runtime has raised the process's limit as far as it may.
func maxConnections(configured int) (int, error) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return 0, fmt.Errorf("ask how many files may be open: %w", err)
	}
	return int(min(uint64(configured), files.Cur/2)), nil
}

// ErrPortTaken: something else listens where the instance should.
var ErrPortTaken = errors.New("the address cannot be listened on")

// CanListen tries the address, because the server only logs that it could not. Error: ErrPortTaken.
func CanListen(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w: %w: choose another with --listen", ErrPortTaken, err)
	}
	return l.Close()
}
