package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/audit"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/commandline"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/moment"
)

// auditSince is how far back the audit is shown when nobody says.
const auditSince = 24 * time.Hour

type auditOptions struct {
	natsContext, since string
	format             format
	follow             bool
	filter             audit.Filter
}

func newAuditCommand() *cobra.Command {
	o := &auditOptions{}
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who was let in, who was not, and what was changed by whom",
		Long: `Shows what has to do with who may do what: registrations, logins and failed logins, keys and where they
were used from, passwords, quotas, users and bases that the operator changed, drained watchers, rebuilt
projections, and what the operator tried in vain. It shows the last 24 hours, or since another time; with --follow it stays and shows what happens.

The first failed login of a name from an address is shown at once, and those that follow within five
minutes are one line together; the same holds for the uses of a key, within an hour. What was typed as
the name of a user is shown only if there is such a user: it may have been a password.

Types are named by what they are about, "user", by their last word, "login_failed", or by both.`,
		Example: `  hermesd audit
  hermesd audit --follow
  hermesd audit --since 30d --type login_failed
  hermesd audit --since 2026-11-24 --user ana -o jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(time.Now()); err != nil {
				return commandline.UsageOf(cmd, err)
			}
			return o.run(cmd)
		},
	}
	f := cmd.Flags()
	contextFlag(f, &o.natsContext)
	f.BoolVarP(&o.follow, "follow", "f", false, "stay, and show what happens as it does")
	f.StringVar(&o.since, "since", "", "begin at this `time`: 12:03:05, 2026-11-24, RFC 3339, 2h for two hours ago")
	f.StringVar(&o.filter.User, "user", "", "only what this `user` did, or what was done to them")
	f.StringSliceVar(&o.filter.Types, "type", nil, "only these `types`: login_failed,user.registered,base")
	o.format.flags(cmd, f)
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(auditTypes(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func auditTypes() []string {
	var names []string
	for _, t := range audit.Types() {
		names = append(names, audit.NameOf(t))
	}
	return names
}

// check reads the flags.
func (o *auditOptions) check(now time.Time) (err error) {
	if err := o.filter.Check(); err != nil {
		return fmt.Errorf("--type: %w: there are %s", err, strings.Join(auditTypes(), ", "))
	}
	switch {
	case o.since != "":
		o.filter.Since, err = moment.Flag("since", o.since, now)
	case o.follow:
		o.filter.Since = now
	default:
		o.filter.Since = now.Add(-auditSince)
	}
	return err
}

// auditSource is a stream that the audit is read from.
type auditSource struct {
	log    log.Log
	filter string
	// next is the sequence behind the last that was read.
	next uint64
}

// auditSources are in the order in which they must be read: users tell the labels of keys.
func auditSources(logs instance.Logs) []*auditSource {
	return []*auditSource{
		{logs.Users, "hermes.user.*", 1}, {logs.Bases, ">", 1}, {logs.Fleet, "hermes.watcher.*", 1}, {logs.Audit, "hermes.audit.*", 1},
	}
}

func (o *auditOptions) run(cmd *cobra.Command) error {
	nc, err := connectOperator(o.natsContext)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	sources, reader := auditSources(instance.OpenLogs(js)), &audit.Reader{}
	rows := []audit.Row{}
	for _, s := range sources {
		for r, err := range s.log.Read(cmd.Context(), s.filter, 1) {
			if err := notUndecodable(err); err != nil {
				return fmt.Errorf("read the audit: %w", err)
			}
			s.next = r.Sequence + 1
			if row := reader.Row(r, err); audit.Shows(r) && o.filter.Picks(row) {
				rows = append(rows, row)
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b audit.Row) int { return a.Time.Compare(b.Time) })
	p := auditPrinter{cmd.OutOrStdout(), o.format}
	if err := p.list(rows, o.follow); err != nil || !o.follow {
		return err
	}
	return o.hear(cmd.Context(), sources, reader, p)
}

// notUndecodable passes an error on, but for that of one event: it is shown as what it is.
func notUndecodable(err error) error {
	var undecodable *log.UndecodableError
	if errors.As(err, &undecodable) {
		return nil
	}
	return err
}

// hear shows what happens until it is interrupted.
func (o *auditOptions) hear(ctx context.Context, sources []*auditSource, reader *audit.Reader, p auditPrinter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type heard struct {
		r   events.Record
		err error
	}
	all := make(chan heard)
	for _, s := range sources {
		go func() {
			for r, err := range s.log.Follow(ctx, s.filter, s.next) {
				select {
				case all <- heard{r, err}:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case h := <-all:
			if err := notUndecodable(h.err); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("follow the audit: %w", err)
			}
			if row := reader.Row(h.r, h.err); audit.Shows(h.r) && o.filter.Picks(row) {
				if err := p.one(row); err != nil {
					return err
				}
			}
		}
	}
}

// auditPrinter writes rows in a format.
type auditPrinter struct {
	w      io.Writer
	format format
}

// list writes them all. What is to be followed is not one JSON value.
func (p auditPrinter) list(rows []audit.Row, followed bool) error {
	if p.format == formatJSON && !followed {
		return printAll(p.format, p.w, rows)
	}
	if p.format.human() {
		if _, err := fmt.Fprintln(p.w, auditLine("Time", "Type", "User", "By", "From", "Outcome", "What")); err != nil {
			return err
		}
	}
	for _, row := range rows {
		if err := p.one(row); err != nil {
			return err
		}
	}
	return nil
}

func (p auditPrinter) one(row audit.Row) error {
	if !p.format.human() {
		return formatJSONLines.print(p.w, row)
	}
	_, err := fmt.Fprintln(p.w, auditLine(row.Time.Local().Format("01/02 15:04:05"), row.Name(), row.User, row.By, row.Address, row.Outcome, auditWhat(row)))
	return err
}

func auditLine(at, name, user, by, from, outcome, what string) string {
	return strings.TrimRight(fmt.Sprintf("%-14s  %-21s  %-10s  %-10s  %-15s  %-18s  %s", at, name, user, by, from, outcome, what), " ")
}

// auditWhat is what no other column says.
func auditWhat(row audit.Row) string {
	var parts []string
	if row.Count > 1 {
		parts = append(parts, fmt.Sprintf("%d times since %s", row.Count, row.Since.Local().Format(time.TimeOnly)))
	}
	if row.Key != "" {
		parts = append(parts, strings.TrimRight(fmt.Sprintf("%.12s %s", row.Key, row.Label), " "))
	}
	if row.Detail != "" {
		parts = append(parts, row.Detail)
	}
	return strings.Join(parts, ", ")
}

// recordAct writes into the audit what the operator did on a connection of their own.
func recordAct(ctx context.Context, js jetstream.JetStream, act events.OperatorActed) error {
	if err := writeAct(ctx, js, act); err != nil {
		return fmt.Errorf("it is done, but is not in the audit: %w", err)
	}
	return nil
}

func writeAct(ctx context.Context, js jetstream.JetStream, act events.OperatorActed) error {
	event := events.Event{ID: api.NewID(), Source: "hermesd", By: operatorName(), Time: time.Now().UTC(), Data: act}
	return log.AppendLast(ctx, jslog.New(js, streams.Audit), events.AuditSubject(act.Type()), event)
}

const (
	// failedLocally is the outcome in the audit of what has no error of the services: a file that cannot be
	// read, a registry that does not answer. The words for it may hold what is not for the audit.
	failedLocally = "Failed"
	// recordWithin bounds what follows an operation that failed, or was interrupted.
	recordWithin = 5 * time.Second
)

// inVain writes into the audit that an operation failed whose success is an event already, and returns
// why it failed.
func inVain(ctx context.Context, js jetstream.JetStream, action, about string, why error) error {
	if why == nil {
		return nil
	}
	act := events.OperatorActed{Action: action, About: api.Clip(about), Failed: failedLocally}
	if e, known := api.AsError(why); known {
		act.Failed = e.Name
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWithin)
	defer cancel()
	if err := writeAct(ctx, js, act); err != nil {
		return errors.Join(why, fmt.Errorf("that it failed is not in the audit: %w", err))
	}
	return why
}
