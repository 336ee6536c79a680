package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// instanceCommand is how this program calls itself to be the instance.
const instanceCommand = "instance"

// runInstance is what hermesd up is, but for the watcher and its containers: the NATS server and the
// services in one process. What is appended to the log from outside is nobody's to run.
func runInstance(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: %s FOLDER SYNC", instanceCommand)
	}
	data, err := instance.OpenDataDir(filepath.Join(args[0], "data"))
	if err != nil {
		return err
	}
	in, err := instance.Start(ctx, instance.Options{
		Data: data, Listen: "127.0.0.1:0", Sync: args[1], User: userName(0), Version: api.Version,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	address, err := serveMemory()
	if err != nil {
		return errors.Join(err, in.Stop())
	}
	fmt.Printf("%s %s\n", readyWord, address)
	select {
	case <-ctx.Done():
		return in.Stop()
	case err := <-in.Failed():
		return errors.Join(err, in.Stop())
	}
}

// heap is what the Go runtime says of its memory, in bytes.
type heap struct {
	// Live is what the last collection has found in use, which is made for the answer.
	Live uint64 `json:"liveBytes"`
	// Before is what was allocated before it.
	Before uint64 `json:"beforeBytes"`
}

// serveMemory answers /heap, and the profiles of net/http/pprof.
func serveMemory() (address string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /heap", func(w http.ResponseWriter, _ *http.Request) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		runtime.GC()
		runtime.ReadMemStats(&after)
		_ = json.NewEncoder(w).Encode(heap{Live: after.HeapAlloc, Before: before.HeapAlloc})
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // until the process ends
	return listener.Addr().String(), nil
}
