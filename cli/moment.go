package cli

import (
	"time"

	"github.com/hermes-serverless/hermes/services/moment"
)

// momentFlag is the value of a flag that takes a moment; empty is the zero time.
func (a *app) momentFlag(flag, text string) (time.Time, error) {
	t, err := moment.Flag(flag, text, a.now())
	if err != nil {
		return t, usage("%s", err)
	}
	return t, nil
}
