// Package commandline makes the programs answer alike to a command line that they do not understand: they
// say what is wrong with it and what to do next, and exit with a code that tells scripts what it was.
package commandline

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hermes-serverless/hermes/services/api"
)

// Usage is an error of the command line itself.
func Usage(format string, args ...any) *api.Error {
	return api.Errorf(api.Invalid, api.InvalidArguments, format, args...)
}

// UsageOf makes an error of a command's flags and arguments one of Usage, with where they are explained
// if it does not say itself what to do.
func UsageOf(cmd *cobra.Command, err error) error {
	var e *api.Error
	var value *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &value):
		e = wrongValue(value)
	case errors.As(err, &e):
	case errors.As(err, &unknown):
		e = unknownFlag(cmd, unknown)
	default:
		e = Usage("%s", err)
	}
	if e.Hint == "" {
		e = e.WithHint("`%s --help` shows how it is used", cmd.CommandPath())
	}
	return e
}

// wrongValue says what a flag takes. What is no type of pflag's says it itself.
func wrongValue(wrong *pflag.InvalidValueError) *api.Error {
	name, takes := wrong.GetFlag().Name, ""
	switch wrong.GetFlag().Value.Type() {
	case "int", "int64":
		takes = "a whole number"
	case "bool":
		takes = "true or false"
	case "duration":
		takes = "a time, such as 90s, 5m or 7d"
	default:
		return Usage("--%s: %v", name, wrong.Unwrap())
	}
	return Usage("--%s %q: must be %s", name, wrong.GetValue(), takes)
}

// unknownFlag names the flag that was probably meant.
func unknownFlag(cmd *cobra.Command, unknown *pflag.NotExistError) *api.Error {
	e := Usage("%s", unknown)
	if unknown.GetSpecifiedShortnames() != "" {
		return e
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if near := Nearest(unknown.GetSpecifiedName(), names); near != "" {
		return e.WithHint("did you mean `%s --%s`?", cmd.CommandPath(), near)
	}
	return e
}

// Nearest is the name that a mistyped word is nearest to: few of its letters would have to change. It is
// empty if none is near.
func Nearest(word string, names []string) string {
	like, best := "", max(2, len(word)/3+1)+1
	for _, name := range names {
		if d := levenshtein.Distance(strings.ToLower(word), name, nil); d < min(best, len(name)) && d <= len(word) {
			like, best = name, d
		}
	}
	return like
}

// Print writes an error as people read it: what was wrong, what belongs to it, and what to do next.
func Print(w io.Writer, program string, e *api.Error) {
	fmt.Fprintf(w, "%s: %s\n", program, e.Message)
	for line := range strings.Lines(e.Detail) {
		fmt.Fprintf(w, "  %s\n", strings.TrimRight(line, "\n"))
	}
	if e.Hint != "" {
		fmt.Fprintf(w, "→ %s\n", e.Hint)
	}
}
