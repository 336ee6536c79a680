package cli

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/commandline"
)

// Names of errors that only the CLI finds.
const (
	notLoggedIn    = "NotLoggedIn"
	noSuchContext  = "NoSuchContext"
	badContext     = "BadContext"
	noSuchFile     = "NoSuchFile"
	notAFile       = "NotAFile"
	inputTooLarge  = api.InputTooLarge
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
func usage(format string, args ...any) *api.Error { return commandline.Usage(format, args...) }

// usageOf adds where the command's usage is told.
func usageOf(cmd *cobra.Command, err error) error { return commandline.UsageOf(cmd, err) }

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
	commandline.Print(a.streams.Err, "hermes", e)
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
