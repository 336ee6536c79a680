package main

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/spf13/pflag"

	"github.com/hermes-serverless/hermes/services/watcher/network"
)

// networkOptions are what the operator allows functions of the network.
type networkOptions struct {
	allow bool
	to    []string
}

func (o *networkOptions) flags(f *pflag.FlagSet) {
	f.BoolVar(&o.allow, "allow-network", false, `give functions that ask for it ("network": "outbound") a way out to public addresses`)
	f.StringSliceVar(&o.to, "allow-network-to", nil, "with --allow-network: `networks` such as 10.1.0.0/16 that they reach too; this machine's own addresses stay out of reach")
}

// networks are those that functions reach beside public ones.
func (o networkOptions) networks() ([]netip.Prefix, error) {
	if len(o.to) > 0 && !o.allow {
		return nil, errors.New("--allow-network-to: functions have no network: give --allow-network too")
	}
	list, err := network.ParseAllowed(o.to)
	if err != nil {
		return nil, fmt.Errorf("--allow-network-to: %w", err)
	}
	return list, nil
}
