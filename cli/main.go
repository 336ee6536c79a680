// Package cli is the hermes program without its main: one file a command, everything that talks
// to a person or a terminal given from outside.
package cli

import (
	"context"

	"github.com/hermes-serverless/hermes/cli/iostreams"
)

// Main runs one command line, without the program's name, and returns the exit code.
func Main(args []string, streams *iostreams.Streams) int {
	a := newApp(streams)
	root := newRootCmd(a)
	root.SetArgs(splitSpelling(args))
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	err := root.ExecuteContext(context.Background())
	a.report(err, args)
	return exitCode(err)
}
