package main

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/moment"
)

// keepFlags adds the flags by which an operator says how long things are kept.
func keepFlags(cmd *cobra.Command, to *instance.Keep) {
	f := cmd.Flags()
	f.Var((*keepTime)(&to.Executions), "keep-executions", "`how long` the log keeps the events of executions that have ended, like 90d; they stay listed for ever, and their events in the history (default 30d)")
	f.Var((*keepTime)(&to.Output), "keep-output", "`how long` what was printed is kept, like 14d (default: as it is, 7d at first)")
	f.Var((*keepBytes)(&to.OutputBytes), "max-output-bytes", "the most `bytes` of output that are kept, like 20GiB; what was printed first goes first (default: as it is, 4GiB at first)")
	f.BoolVar(&to.LetOutputGo, "let-output-go", false, "accept a --keep-output or --max-output-bytes below the one before: what is beyond it goes at once")
}

// keepTime is a flag that is a time in days, or as Go writes it.
type keepTime time.Duration

var _ pflag.Value = new(keepTime)

// Set implements pflag.Value.
func (k *keepTime) Set(text string) error {
	d, err := moment.Duration(text)
	if err != nil || d < instance.MinKeep {
		return fmt.Errorf("%q must be a time such as 30d or 36h, at least %s", text, moment.Text(instance.MinKeep))
	}
	*k = keepTime(d)
	return nil
}

// String implements pflag.Value. It is empty: the usage says what holds by default.
func (k *keepTime) String() string { return "" }

// Type implements pflag.Value.
func (k *keepTime) Type() string { return "time" }

// keepBytes is a flag that is a size.
type keepBytes int64

var _ pflag.Value = new(keepBytes)

// minKeepBytes is room for the largest output of one execution with the default limits.
const minKeepBytes = 64 << 20

// Set implements pflag.Value.
func (k *keepBytes) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	if err != nil || n < minKeepBytes || n > 1<<50 {
		return fmt.Errorf("%q must be a size such as 20GiB, at least %s", text, humanize.IBytes(minKeepBytes))
	}
	*k = keepBytes(n)
	return nil
}

// String implements pflag.Value. It is empty: the usage says what holds by default.
func (k *keepBytes) String() string { return "" }

// Type implements pflag.Value.
func (k *keepBytes) Type() string { return "bytes" }
