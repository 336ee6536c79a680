// Command hermes-network is the process between one sandbox and the network. hermesd starts it; see
// package network for what it is, and package forward for what it does.
//
//	hermes-network FOLDER
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/network"
	"github.com/hermes-serverless/hermes/services/watcher/network/forward"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: hermes-network FOLDER: hermesd starts this itself")
		os.Exit(2)
	}
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "hermes-network:", err)
		os.Exit(1)
	}
}

// serve gives up all that it can before it reads a single packet, and ends with the sandbox.
func serve(folder string) error {
	debug.SetMemoryLimit(network.MemoryBytes / 4 * 3)
	if err := lockUp(folder); err != nil {
		return fmt.Errorf("give up privileges: %w", err)
	}
	reach, tun, err := network.Receive(network.ControlFD)
	if err != nil {
		return err
	}
	_, err = forward.Start(tun, reach)
	if answered := network.Answer(network.ControlFD, err); answered != nil {
		return answered
	}
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(tun) // its descriptor is served, and would be closed with it
	// Nothing more is said: what can be read now is the end.
	for {
		_, err := unix.Read(network.ControlFD, make([]byte, 1))
		if err != unix.EINTR {
			return nil
		}
	}
}
