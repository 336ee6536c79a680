package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// eventsSince is how far back events are shown when nobody says.
const eventsSince = time.Hour

type eventsOptions struct {
	app      *app
	ctx      context.Context
	function string
	since    string
	types    []string
	follow   bool
	// all and owner ask for what is not the user's own.
	all     bool
	owner   string
	request api.EventsRequest
}

func newEventsCmd(a *app, run func(*eventsOptions) error) *cobra.Command {
	if run == nil {
		run = runEvents
	}
	o := &eventsOptions{app: a}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happens to your functions and executions",
		Long: `Shows your events, one a line: those of the last hour, or since another time. With -f it stays and shows
what happens from now on, or from --since on; it goes on through an outage of the server. With
--output json or jsonl it prints the events themselves.

The operator sees what happens to everybody with --all, or to one user with --owner. hermesd up writes
a context for that, hermes-operator.

Types are named by their last word, "started", or with what they are about, "execution.started".`,
		Example: `  hermes events
  hermes events -f
  hermes events --since 24h --type failed,lost,timed_out
  hermes events -f --function pi -o jsonl
  hermes --context hermes-operator events --all -f`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.read(); err != nil {
				return usageOf(cmd, err)
			}
			o.ctx = cmd.Context()
			return run(o)
		},
	}
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "stay, and show events as they happen")
	cmd.Flags().StringVar(&o.since, "since", "", "begin at this `time`: 12:03:05, RFC 3339, 2h for two hours ago")
	cmd.Flags().BoolVar(&o.all, "all", false, "those of everybody, for the operator")
	cmd.Flags().StringVar(&o.owner, "owner", "", "those of this `user`, for the operator")
	_ = cmd.RegisterFlagCompletionFunc("owner", cobra.NoFileCompletions)
	cmd.Flags().StringVar(&o.function, "function", "", "only those of this `function` and its executions")
	cmd.Flags().StringSliceVar(&o.types, "type", nil, "only `types` with these names: requested,failed")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(eventNames(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("function", func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return a.completeFunctions(false)(cmd, nil, word)
	})
	return cmd
}

// usersTypes are the types of what a user has.
func usersTypes() []events.Type {
	var types []events.Type
	for _, t := range events.Types() {
		if area := areaOf(t); area == "execution" || area == "function" {
			types = append(types, t)
		}
	}
	return types
}

func areaOf(t events.Type) string { return strings.Split(string(t), ".")[2] }

// lastWord is a type's own name.
func lastWord(t events.Type) string { return string(t[strings.LastIndex(string(t), ".")+1:]) }

func eventNames() []string {
	var names []string
	for _, t := range usersTypes() {
		names = append(names, lastWord(t))
	}
	return names
}

// read checks the flags.
func (o *eventsOptions) read() (err error) {
	if o.all && o.owner != "" {
		return usage("--all and --owner exclude each other")
	}
	if o.request.Owner = o.owner; o.all {
		o.request.Owner = api.Everybody
	}
	if o.owner != "" {
		if err := events.CheckUserName(o.owner); err != nil {
			return usage("--owner: %v", err)
		}
	}
	if o.function != "" {
		if o.request.Function, err = parseRef(o.function); err != nil {
			return err
		}
	}
	for _, word := range o.types {
		before := len(o.request.Types)
		for _, t := range usersTypes() {
			if word == lastWord(t) || word == areaOf(t)+"."+lastWord(t) || word == string(t) {
				o.request.Types = append(o.request.Types, t)
			}
		}
		if len(o.request.Types) == before {
			return usage("--type %q: must be one of %s", word, strings.Join(eventNames(), ", "))
		}
	}
	if o.request.Since, err = o.app.momentFlag("since", o.since); err != nil {
		return err
	}
	if o.since == "" && !o.follow {
		o.request.Since = o.app.now().Add(-eventsSince)
	}
	return nil
}

func runEvents(o *eventsOptions) error {
	connect := o.app.connect
	if o.request.Owner != "" {
		connect = o.app.connectOperator
	}
	client, done, err := connect()
	if err != nil {
		return err
	}
	defer done()
	if o.follow {
		return o.hear(client)
	}
	all, none := []api.ListedEvent{}, true
	for {
		page, err := api.Call[api.Events](o.ctx, client, api.OpEvents, o.request)
		if err != nil {
			return err
		}
		none = none && len(page.Events) == 0
		if o.app.format == formatJSON {
			all = append(all, page.Events...)
		} else if err := o.print(page.Events); err != nil {
			return err
		}
		if o.request.Cursor = page.Cursor; !page.More {
			break
		}
	}
	if none {
		o.app.note("there was none since %s", clockTime(o.request.Since))
	}
	if o.app.format == formatJSON {
		return printList(o.app, all)
	}
	return nil
}

func (o *eventsOptions) hear(client *api.Client) error {
	h := &ear{app: o.app, client: client, request: o.request}
	heard, err := h.begin(o.ctx)
	for {
		if err != nil {
			return err
		}
		if err := o.print(heard); err != nil {
			return err
		}
		heard, err = h.next(o.ctx)
	}
}

func (o *eventsOptions) print(all []api.ListedEvent) error {
	for _, e := range all {
		if !o.app.human() {
			if err := o.app.inLines().printJSON(e); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintln(o.app.streams.Out, strings.TrimRight(o.line(e), " ")); err != nil {
			return err
		}
	}
	return nil
}

// line is an event in words, with whose it is where that is not said by who asks.
func (o *eventsOptions) line(e api.ListedEvent) string {
	line := eventLine(e)
	if !o.all {
		return line
	}
	owner, _, err := events.ParseExecutionSubject(e.Subject)
	if err != nil { // of a function; an execution may be another's than its function
		owner = e.Function.Owner
	}
	return fmt.Sprintf("%-12s   %s", owner, line)
}

// eventLine is an event in words.
func eventLine(e api.ListedEvent) string {
	about, text := strings.TrimSuffix(e.Function.String(), ":"), ""
	r, err := e.Record()
	switch {
	case e.Undecodable != "":
		text = "it cannot be read: " + e.Undecodable
	case err != nil:
		text = "an event that this version of hermes does not know"
	default:
		text = join(" ", why(executions.Execution{}, time.Time{}, r), functionWhy(r))
	}
	if strings.HasPrefix(e.Subject, "hermes.execution.") {
		about = "execution " + strconv.FormatInt(e.Number, 10)
		if _, requested := r.Data.(events.ExecutionRequested); !requested && e.Function.Name != "" {
			text = join("; ", e.Function.String(), text)
		}
	}
	return fmt.Sprintf("%s   %-16s   %-20s   %s", clockTime(e.Time), shortType(e.Type), about, text)
}

// functionWhy says what an event of a function tells.
func functionWhy(r events.Record) string {
	switch d := r.Data.(type) {
	case events.FunctionRegistered:
		return "in " + d.Config.Language
	case events.FunctionBuilt:
		return "artifact " + shortDigest(d.Artifact.Digest)
	case events.FunctionBuildFailed:
		return "reason " + join(": ", d.Reason, d.Message)
	case events.FunctionAliasSet:
		return d.Alias + " is " + d.Version
	case events.FunctionDeleted:
		return strings.Join(d.Versions, ", ")
	}
	return ""
}
