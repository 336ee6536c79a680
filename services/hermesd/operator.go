package main

import (
	"errors"
	"fmt"

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
		return nil, fmt.Errorf("connect with the NATS context %s: %w: is hermesd running, and did it run as this user?", natsContext, err)
	}
	return nc, nil
}

// inWords says an error of the services to a person, with what they can do.
func inWords(err error) error {
	e, ok := api.AsError(err)
	switch {
	case !ok:
		return err
	case e.Hint == "":
		return errors.New(e.Message)
	}
	return errors.New(e.Message + ": " + e.Hint)
}
