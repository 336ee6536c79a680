package cli

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hermes-serverless/hermes/cli/config"
	"github.com/hermes-serverless/hermes/cli/iostreams"
)

// app is what every command shares: the streams, the clock and the flags that stand on each.
type app struct {
	streams *iostreams.Streams
	now     func() time.Time
	// notify delivers interrupts until the returned function is called.
	notify func() (<-chan os.Signal, func())

	contextName string
	outputFlag  string
	jsonFlag    bool
	format      format
}

func newApp(streams *iostreams.Streams) *app {
	return &app{streams: streams, now: time.Now, notify: notifyInterrupts, format: formatTable}
}

func notifyInterrupts() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	return c, func() { signal.Stop(c) }
}

// note tells on stderr what is going on, for people: programs find JSON there or nothing.
func (a *app) note(text string, args ...any) {
	if !a.human() {
		return
	}
	fmt.Fprintf(a.streams.Err, "hermes: "+text+"\n", args...)
}

// chooseFormat settles --output, --json and the configured default.
func (a *app) chooseFormat() error {
	name := a.outputFlag
	switch {
	case a.jsonFlag && name != "" && name != string(formatJSON):
		return usage("--json and --output %s exclude each other", name)
	case a.jsonFlag:
		name = string(formatJSON)
	case name == "":
		c, err := config.Load()
		if err != nil {
			return err
		}
		name = c[config.KeyOutput]
	}
	if name == "" {
		name = string(formatTable)
	}
	var err error
	a.format, err = parseFormat(name)
	return err
}
