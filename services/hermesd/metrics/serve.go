package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler answers GET /metrics.
func (s *Set) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	return mux
}

// Address is where --metrics listens: without a host on loopback. exposed says that others can reach it.
func Address(flag string) (address string, exposed bool, err error) {
	host, port, err := net.SplitHostPort(flag)
	if err != nil || port == "" {
		return "", false, fmt.Errorf("--metrics %q: must be host:port, such as 127.0.0.1:9464", flag)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	ip := net.ParseIP(host)
	return net.JoinHostPort(host, port), !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()), nil
}

// Serve listens at --metrics and answers until stop is called.
func (s *Set) Serve(flag string, log *slog.Logger) (stop func(), err error) {
	address, exposed, err := Address(flag)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w: choose another address, or end what listens there", err)
	}
	if exposed {
		log.Warn("everybody who reaches this address can read the metrics: there is no password and no TLS", "address", listener.Addr())
	}
	log.Info("metrics", "url", "http://"+listener.Addr().String()+"/metrics")
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", "err", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-ended
	}, nil
}
