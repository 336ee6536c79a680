package main

import (
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/metrics"
)

// metricsFlag adds --metrics.
func metricsFlag(f *pflag.FlagSet, to *string) {
	f.StringVar(to, "metrics", "", "serve Prometheus metrics at http://`host:port`/metrics; without a host on loopback (default: off)")
}

// serveMetrics serves a set when the flag asks for it. Without it there is none.
func serveMetrics(flag string, log *slog.Logger) (set *metrics.Set, stop func(), err error) {
	if flag == "" {
		return nil, func() {}, nil
	}
	set = metrics.New(api.Version)
	if stop, err = set.Serve(flag, log); err != nil {
		return nil, nil, err
	}
	return set, stop, nil
}
