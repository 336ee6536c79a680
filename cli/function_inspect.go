package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

type functionInspectOptions struct {
	app *app
	ctx context.Context
	ref events.FunctionRef
}

func newFunctionInspectCmd(a *app, run func(*functionInspectOptions) error) *cobra.Command {
	if run == nil {
		run = runFunctionInspect
	}
	return &cobra.Command{
		Use:               "inspect ID",
		Short:             "Show everything about a function's versions",
		Example:           "  hermes function inspect pi\n  hermes function inspect ana/pi:1.0.0 --json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFunctions(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			return run(&functionInspectOptions{app: a, ctx: cmd.Context(), ref: ref})
		},
	}
}

func runFunctionInspect(o *functionInspectOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	list, err := api.Call[api.Functions](o.ctx, client, api.OpFunctionInspect, api.FunctionInspect{
		Owner: o.ref.Owner, Name: o.ref.Name, Version: o.ref.Version,
	})
	if err != nil {
		return suggest(o.ctx, client, o.ref, err)
	}
	if !o.app.human() {
		return printList(o.app, list.Functions)
	}
	for i, f := range list.Functions {
		if i > 0 {
			fmt.Fprintln(o.app.streams.Out)
		}
		if err := o.app.printFields(o.app.streams.Out, o.app.functionFields(f)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) functionFields(f api.Function) [][2]string {
	fields := [][2]string{
		{"function", f.Ref().String()}, {"status", a.functionStatus(f.Status)},
		{"reason", f.Reason}, {"message", f.Message},
		{"language", f.Language}, {"scope", f.Scope}, {"gpuCapable", yesNo(f.GPUCapable)}, {"gpu", gpuText(f.GPU)},
		{"handler", f.Handler}, {"base", f.Base}, {"digest", f.Digest}, {"bundleDigest", f.BundleDigest},
		{"network", f.Network}, {"build", f.Build}, {"registeredAt", clockTime(f.RegisteredAt)},
	}
	fields = append(fields, [2]string{"sandbox", f.Sandbox})
	fields = append(fields, limitFields(f.Limits, events.Limits{})...)
	return append(fields, givenFields(f.Args, f.Env)...)
}

// givenFields says what a run is given by its function's config.
func givenFields(args []string, env map[string]string) [][2]string {
	fields := [][2]string{{"args", words(args)}}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fields = append(fields, [2]string{"env", name + "=" + words([]string{env[name]})})
	}
	return fields
}

// words says arguments on one line, those in quotes that would not be told apart without.
func words(list []string) string {
	said := make([]string, len(list))
	for i, word := range list {
		said[i] = word
		if word == "" || strings.ContainsFunc(word, needsQuotes) {
			said[i] = strconv.Quote(word)
		}
	}
	return strings.Join(said, " ")
}

func needsQuotes(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-+_=./:,@%", r)
}
