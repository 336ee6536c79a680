package main

import (
	"github.com/nats-io/jsm.go/natscontext"
	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// contextFlag adds --context to commands that work on a running instance.
func contextFlag(f *pflag.FlagSet, to *string) {
	f.StringVar(to, "context", instance.OperatorContext, "NATS context `name` of the operator")
}

// connectOperator connects as the operator.
func connectOperator(natsContext string) (*nats.Conn, error) {
	nc, err := natscontext.Connect(natsContext, nats.Name("hermesd operator"))
	if err != nil {
		return nil, api.Errorf(api.Unavailable, api.ServerUnavailable, "connect with the NATS context %s: %v", natsContext, err).
			WithHint("is hermesd running, and did it run as this user?")
	}
	return nc, nil
}
