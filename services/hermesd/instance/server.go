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
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("start the embedded NATS server: %w", err)
	}
	s.SetLoggerV2(natsLogger{log.With("part", "nats")}, false, false, false)
	go s.Start()
	if !s.ReadyForConnections(readyWithin) {
		s.Shutdown()
		return nil, fmt.Errorf("the embedded NATS server was not ready within %s: see its messages above", readyWithin)
	}
	return s, nil
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

// natsLogger passes on what an operator must know.
type natsLogger struct{ log *slog.Logger }

func (l natsLogger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l natsLogger) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l natsLogger) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l natsLogger) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l natsLogger) Debugf(string, ...any)           {}
func (l natsLogger) Tracef(string, ...any)           {}
