package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hermes-serverless/hermes/services/api"
)

// Names of errors that only the CLI finds.
const (
	notLoggedIn    = "NotLoggedIn"
	noSuchContext  = "NoSuchContext"
	badContext     = "BadContext"
	noSuchFile     = "NoSuchFile"
	notAFile       = "NotAFile"
	inputTooLarge  = api.InputTooLarge
	unknownCommand = "UnknownCommand"
	unknownSetting = "UnknownSetting"
	noMakefile     = "NoMakefile"
	fileExists     = "FileExists"
	folderExists   = "FolderExists"
	buildFailed    = "BuildFailed"
	buildCancelled = "BuildCancelled"
	authFailed     = api.AuthenticationError
	waitTimeout    = "WaitTimeout"
	notEnded       = api.NotEnded
	outputGone     = "OutputGone"
)

// usage is an error of the command line itself.
func usage(format string, args ...any) *api.Error {
	return api.Errorf(api.Invalid, api.InvalidArguments, format, args...)
}

// usageOf adds where the command's usage is told.
func usageOf(cmd *cobra.Command, err error) error {
	var e *api.Error
	var value *pflag.InvalidValueError
	switch {
	case errors.As(err, &e):
	case errors.As(err, &value) && value.GetFlag().Value.Type() == gpuType:
		e = usage("--%s: %v", value.GetFlag().Name, value.Unwrap())
	case errors.As(err, &value):
		e = usage("--%s %q: must be %s", value.GetFlag().Name, value.GetValue(), valueOf(value.GetFlag()))
	default:
		e = usage("%s", err)
	}
	if e.Hint == "" {
		e = e.WithHint("`%s --help` shows how it is used", cmd.CommandPath())
	}
	return e
}

// valueOf says what a flag takes.
func valueOf(flag *pflag.Flag) string {
	switch flag.Value.Type() {
	case "int", "int64":
		return "a whole number"
	case "duration":
		return "a time, such as 90s or 5m"
	case "bool":
		return "true or false"
	}
	return "a " + flag.Value.Type()
}

// noArgs refuses any argument by name. (cobra calls one an unknown command.)
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageOf(cmd, usage("%s takes no argument: %q is one too many", cmd.CommandPath(), args[0]))
}

// argsOf makes cobra's check of arguments speak the CLI's language of errors.
func argsOf(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageOf(cmd, err)
		}
		return nil
	}
}

// report prints an error once, as text or, where JSON was asked for, as an object.
func (a *app) report(err error, args []string) {
	var exit *exitError
	if err == nil || errors.As(err, &exit) && exit.err == nil {
		return
	}
	e := describe(err)
	if a.format != formatTable || wantsJSON(args) {
		a.reportJSON(e)
		return
	}
	fmt.Fprintf(a.streams.Err, "hermes: %s\n", e.Message)
	for line := range strings.Lines(e.Detail) {
		fmt.Fprintf(a.streams.Err, "  %s\n", strings.TrimRight(line, "\n"))
	}
	if e.Hint != "" {
		fmt.Fprintf(a.streams.Err, "→ %s\n", e.Hint)
	}
}

func (a *app) reportJSON(e *api.Error) {
	encoder := json.NewEncoder(a.streams.Err)
	encoder.SetEscapeHTML(false)
	if a.format != formatJSONLines {
		encoder.SetIndent("", "  ")
	}
	_ = encoder.Encode(e)
}

// describe gives every error the form that users know.
func describe(err error) *api.Error {
	if e, ok := api.AsError(err); ok {
		return e
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return api.Errorf(api.Invalid, api.InvalidArguments, "%s", err)
	}
	return api.Errorf(api.Internal, api.InternalError, "%s", err)
}

// wantsJSON looks for the wish in arguments that may not have been understood.
func wantsJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	for i, arg := range args {
		switch {
		case arg == "-j", arg == "--json", arg == "--output=json", arg == "-ojson":
			return true
		case (arg == "-o" || arg == "--output") && i+1 < len(args):
			return args[i+1] == string(formatJSON) || args[i+1] == string(formatJSONLines)
		}
	}
	return false
}
