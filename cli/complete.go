package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/cli/config"
	"github.com/hermes-serverless/hermes/cli/natsctx"
	"github.com/hermes-serverless/hermes/services/api"
)

// completeTimeout is how long a press of the tab key may ask the server.
const completeTimeout = time.Second

const noFiles = cobra.ShellCompDirectiveNoFileComp

type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

func contextNames() []string {
	dir, err := config.Dir()
	if err != nil {
		return nil
	}
	return natsctx.Names(dir)
}

// completeFunctions offers the caller's functions and their versions; where runnable is true, those
// that can be run.
func (a *app) completeFunctions(runnable bool) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, noFiles
		}
		list, err := completeCall[api.Functions](a, cmd.Context(), api.OpFunctionList, api.FunctionList{})
		if err != nil {
			return nil, noFiles
		}
		var names []string
		last := ""
		for _, f := range list.Functions {
			// An artifact is what can be run, also while a new one is built.
			if runnable && f.Digest == "" {
				continue
			}
			if f.FunctionName != last {
				names = append(names, f.FunctionName)
			}
			last = f.FunctionName
			names = append(names, f.FunctionName+":"+f.FunctionVersion)
		}
		return names, noFiles
	}
}

// completeRuns offers the numbers of the caller's latest executions, for one argument.
func (a *app) completeRuns(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return a.completeManyRuns(cmd, args, word)
}

// completeManyRuns offers the same for any number of arguments.
func (a *app) completeManyRuns(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	page, err := completeCall[api.Executions](a, cmd.Context(), api.OpExecutionList, api.ExecutionList{})
	if err != nil {
		return nil, noFiles
	}
	var numbers []string
	for _, e := range page.Executions {
		numbers = append(numbers, fmt.Sprintf("%s\t%s, %s", strconv.FormatInt(e.Number, 10), functionOf(e), e.Status))
	}
	return numbers, noFiles | cobra.ShellCompDirectiveKeepOrder
}

// completeVersions offers the versions of the function that is named before, and before that the functions.
func (a *app) completeVersions(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return a.completeFunctions(false)(cmd, args, word)
	}
	ref, err := parseRef(args[0])
	if err != nil || ref.Version != "" {
		return nil, noFiles
	}
	list, err := completeCall[api.Functions](a, cmd.Context(), api.OpFunctionInspect, api.FunctionInspect{Name: ref.Name})
	if err != nil {
		return nil, noFiles
	}
	versions := make([]string, len(list.Functions))
	for i, f := range list.Functions {
		versions[i] = f.FunctionVersion
	}
	return versions, noFiles
}

// completeMachines offers the watchers of the fleet.
func (a *app) completeMachines(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	fleet, err := completeCall[api.Fleet](a, cmd.Context(), api.OpFleet, api.FleetRequest{})
	if err != nil {
		return nil, noFiles
	}
	names := make([]string, len(fleet.Watchers))
	for i, w := range fleet.Watchers {
		names[i] = w.Name
	}
	return names, noFiles
}

// completeKeys offers the caller's keys by their beginnings.
func (a *app) completeKeys(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	list, err := completeCall[api.Keys](a, cmd.Context(), api.OpKeysList, api.KeysList{})
	if err != nil {
		return nil, noFiles
	}
	var keys []string
	for _, k := range list.Keys {
		keys = append(keys, fmt.Sprintf("%.12s\t%s", k.Key, k.Label))
	}
	return keys, noFiles
}

func completeCall[Reply any](a *app, ctx context.Context, op string, request any) (Reply, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	client, done, err := a.connect()
	if err != nil {
		var none Reply
		return none, err
	}
	defer done()
	return api.Call[Reply](ctx, client, op, request)
}
