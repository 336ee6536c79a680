package main

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/manifest"
)

// limitFlags adds the flags by which an operator bounds what runs: one for each column of the table
// of limits, with the keys and the spelling of hermes.config.json.
func limitFlags(cmd *cobra.Command, to *instance.Limits) {
	f := cmd.Flags()
	f.Var(limits{to: &to.Max, sizes: map[string]*int64{"input": &to.MaxInputBytes, "bundle": &to.MaxBundleBytes}}, "max",
		"the most that functions may ask for, like memory=16GiB,timeout=2h, and what they may be given, like input=1GiB,bundle=1GiB; may be repeated")
	f.Var(limits{to: &to.Default}, "default", "limits of functions that ask for none, like memory=2GiB,output=64MiB; may be repeated")
	f.Var(quotaFlag{&to.Quota}, "quota", "what each user may use who has no quota of their own, like concurrent=8,gpus=2,memory=64GiB; 0 is nothing, unlimited no bound; may be repeated")
	f.StringVar(&to.GPUs, "gpu-order", "", "how GPUs are given away: `pack`, so that whole machines stay free for what needs many, or spread (default pack)")
	f.StringVar(&to.MIG, "mig-users", "", "how many users may have MIG instances of one card at a time: `one`, unless all of them said that it may be shared, or many, where the hardware's isolation is enough (default one)")
	f.Var(limits{to: &to.Build, no: "results"}, "build", "limits of builds, like timeout=15m,memory=8GiB; may be repeated")
}

// limits is a flag that sets some of the limits of executions.
type limits struct {
	to *events.Limits
	// sizes are keys that are no limit of an execution.
	sizes map[string]*int64
	// no is a limit of executions that bounds nothing here.
	no string
}

var _ pflag.Value = limits{}

// Set implements pflag.Value.
func (l limits) Set(text string) error {
	for assignment := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(assignment, "=")
		if !ok {
			return fmt.Errorf("%q must be KEY=VALUE, like memory=2GiB", assignment)
		}
		if err := l.set(key, value); err != nil {
			return err
		}
	}
	return nil
}

func (l limits) set(key, value string) error {
	if key == l.no {
		return fmt.Errorf("%s: a build has none; leave it out", key)
	}
	size := l.sizes[key]
	if size == nil {
		return manifest.SetLimit(l.to, key, value)
	}
	n, err := humanize.ParseBytes(value)
	if err != nil || n == 0 || n > 1<<40 {
		return fmt.Errorf(`%s: %q must be a size up to 1TiB, like "512MiB"`, key, value)
	}
	*size = int64(n)
	return nil
}

// String implements pflag.Value. It is empty, as no limit is set by default.
func (l limits) String() string { return "" }

// Type implements pflag.Value.
func (l limits) Type() string { return "limits" }
