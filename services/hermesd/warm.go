package main

import (
	"errors"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

const warmUsage = "most sandboxes that wait ready for the next runs, about 5 MiB each; 0 is none (default: four a slot, at most 100)"

// warm is the flag --warm: a number, or instance.DefaultWarm when it is left out.
type warm int

var _ pflag.Value = (*warm)(nil)

func newWarm(to *int) *warm {
	*to = instance.DefaultWarm
	return (*warm)(to)
}

// Set implements pflag.Value.
func (w *warm) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return errors.New("must be a number, 0 or more")
	}
	*w = warm(n)
	return nil
}

// String implements pflag.Value. It is empty, as the default is not a number.
func (w *warm) String() string { return "" }

// Type implements pflag.Value.
func (w *warm) Type() string { return "number" }
