package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// format is how a command prints its results: for people, or as JSON.
type format string

const (
	formatTable     format = "table"
	formatJSON      format = "json"
	formatJSONLines format = "jsonl"
)

var formats = []string{string(formatTable), string(formatJSON), string(formatJSONLines)}

var _ pflag.Value = new(format)

// flags adds --output and --json to flags of a command.
func (f *format) flags(cmd *cobra.Command, flags *pflag.FlagSet) {
	*f = formatTable
	flags.VarP(f, "output", "o", "`format` of results: table, json or jsonl")
	flags.VarPF(asJSON{f}, "json", "j", "the same as --output json").NoOptDefVal = "true"
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// Set implements pflag.Value.
func (f *format) Set(text string) error {
	if !slices.Contains(formats, text) {
		return fmt.Errorf("%q must be table, json or jsonl", text)
	}
	*f = format(text)
	return nil
}

// String implements pflag.Value. It is empty: the usage says what there is, and people get a table.
func (f *format) String() string { return "" }

// Type implements pflag.Value.
func (f *format) Type() string { return "format" }

// human says whether results are for people.
func (f format) human() bool { return f == formatTable }

// print prints one value.
func (f format) print(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if f == formatJSON {
		encoder.SetIndent("", "  ")
	}
	return encoder.Encode(value)
}

// printAll prints values as one array, or one a line.
func printAll[T any](f format, w io.Writer, values []T) error {
	if f == formatJSON {
		return f.print(w, append([]T{}, values...))
	}
	for _, value := range values {
		if err := f.print(w, value); err != nil {
			return err
		}
	}
	return nil
}

// asJSON is the flag --json.
type asJSON struct{ to *format }

var _ pflag.Value = asJSON{}

// Set implements pflag.Value.
func (j asJSON) Set(text string) error {
	switch strings.ToLower(text) {
	case "true":
		*j.to = formatJSON
	case "false":
		*j.to = formatTable
	default:
		return fmt.Errorf("%q must be true or false", text)
	}
	return nil
}

// String implements pflag.Value.
func (j asJSON) String() string { return "" }

// Type implements pflag.Value. Bool is what pflag shows without a value.
func (j asJSON) Type() string { return "bool" }
