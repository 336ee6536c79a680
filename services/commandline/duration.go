package commandline

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/hermes-serverless/hermes/services/moment"
)

// DurationVar adds a flag that is a length of time, in days too. What to holds is its default.
func DurationVar(f *pflag.FlagSet, to *time.Duration, name, usage string) {
	f.Var((*duration)(to), name, usage)
}

type duration time.Duration

var _ pflag.Value = new(duration)

// Set implements pflag.Value.
func (d *duration) Set(text string) error {
	read, err := moment.Duration(text)
	if err == nil {
		*d = duration(read)
	}
	return err
}

// String implements pflag.Value. No time at all is empty: it is no default to speak of.
func (d *duration) String() string {
	if *d == 0 {
		return ""
	}
	return moment.Text(time.Duration(*d))
}

// Type implements pflag.Value.
func (d *duration) Type() string { return "duration" }
