package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/cli/top"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// topFrames is how many pictures a second are drawn at most: a slow link must keep up.
const topFrames = 10

type topOptions struct {
	app  *app
	ctx  context.Context
	once bool
}

func newTopCmd(a *app, run func(*topOptions) error) *cobra.Command {
	if run == nil {
		run = runTop
	}
	o := &topOptions{app: a}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch what runs, what waits and how full the machines are",
		Long: `Shows, as it changes, your executions that run and wait, the output of the one that the cursor is on, the
machines with what of them is set aside and what their GPUs do together, and how many of your executions
end and how much they print a second. Of an execution that has GPUs it shows, above its output, the
utilisation, memory and power of each, with what others take of it where it is shared. Of what others
run it shows counts only. It goes on through an outage of the server.

Keys: up and down (or k and j) move, page up and down, home and end; enter opens the output, which can
be scrolled, and closes it; c cancels, after a question; / filters by what the rows show, escape shows all
again; q and Ctrl-C leave. What runs goes on.

With --once it prints what it sees once, as text or JSON.`,
		Example: "  hermes top\n  hermes top --once\n  hermes top --once -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.ctx = cmd.Context()
			if !o.once && (!a.human() || !a.streams.OutTerminal || !a.streams.InTerminal) {
				return usageOf(cmd, usage("hermes top needs a terminal and --output table").WithHint("`hermes top --once` prints what there is now"))
			}
			return run(o)
		},
	}
	cmd.Flags().BoolVar(&o.once, "once", false, "print what there is now, and end")
	return cmd
}

func runTop(o *topOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	if o.once {
		return o.print(client)
	}
	ctx, cancel := context.WithCancel(o.ctx)
	defer cancel()
	f := newTopFeed(o.app, client)
	options := []tea.ProgramOption{
		tea.WithContext(ctx), tea.WithInput(o.app.streams.In), tea.WithOutput(o.app.streams.Out), tea.WithFPS(topFrames),
	}
	if !o.app.streams.Colour {
		options = append(options, tea.WithColorProfile(colorprofile.NoTTY))
	}
	p := tea.NewProgram(top.New(top.Options{
		User: client.User(), Colour: o.app.streams.Colour, Now: o.app.now(), Follow: f.follow, Cancel: f.cancel,
	}), options...)
	f.send = func(m tea.Msg) { p.Send(m) }
	f.start(ctx)
	defer f.stop()
	_, err = p.Run()
	cancel()
	if failed := f.failed.Load(); failed != nil {
		return *failed
	}
	return err
}

// frame is what `hermes top --once` prints.
type frame struct {
	Time       time.Time       `json:"time"`
	Fleet      api.Fleet       `json:"fleet"`
	Executions []executionJSON `json:"executions"`
	// More: there are live executions that are not among these.
	More bool `json:"more,omitempty"`
	// GPUs are those of the fleet, with what they did last.
	GPUs []api.GPUState `json:"gpus,omitempty"`
}

// live asks for what runs and waits, the newest first.
func live(ctx context.Context, client *api.Client) (api.Executions, error) {
	return api.Call[api.Executions](ctx, client, api.OpExecutionList, api.ExecutionList{
		ExecutionFilter: api.ExecutionFilter{Status: []executions.Status{executions.Queued, executions.Running}}, Limit: maxPage,
	})
}

// gpusOfFleet asks what the fleet's GPUs do, if it has any.
func gpusOfFleet(ctx context.Context, client *api.Client, fleet api.Fleet) (api.GPUs, error) {
	if !slices.ContainsFunc(fleet.Watchers, func(w api.FleetWatcher) bool { return len(w.GPUs) > 0 }) {
		return api.GPUs{}, nil
	}
	return api.Call[api.GPUs](ctx, client, api.OpGPUList, api.GPUList{})
}

func (o *topOptions) print(client *api.Client) error {
	fleet, err := api.Call[api.Fleet](o.ctx, client, api.OpFleet, api.FleetRequest{})
	if err != nil {
		return err
	}
	gpus, err := gpusOfFleet(o.ctx, client, fleet)
	if err != nil {
		return err
	}
	page, err := live(o.ctx, client)
	if err != nil {
		return err
	}
	if !o.app.human() {
		f := frame{Time: o.app.now().UTC(), Fleet: fleet, Executions: []executionJSON{}, More: page.More, GPUs: gpus.GPUs}
		for _, e := range page.Executions {
			f.Executions = append(f.Executions, o.app.executionJSON(e))
		}
		return o.app.printJSON(f)
	}
	out := o.app.streams.Out
	_, err = fmt.Fprintf(out, "%d running, %d queued; of all users %d, %d\n", fleet.YourRunning, fleet.YourQueued, fleet.Running, fleet.Queued)
	if err != nil {
		return err
	}
	rows := make([][]string, len(fleet.Watchers))
	for i, w := range fleet.Watchers {
		rows[i] = []string{
			w.Name, w.State, fmt.Sprintf("%d/%d", w.UsedSlots, w.Slots),
			top.Cores(w), top.Memory(w), fmt.Sprintf("%d/%d", w.UsedGPUs, len(w.GPUs)),
		}
	}
	fmt.Fprintln(out)
	if err := o.app.printTable(out, []string{"Machine", "State", "Slots", "CPU", "Memory", "GPUs"}, rows); err != nil {
		return err
	}
	if err := o.printGPUs(gpus); err != nil {
		return err
	}
	rows = make([][]string, len(page.Executions))
	for i, e := range page.Executions {
		running := ""
		if !e.StartedAt.IsZero() {
			running = elapsed(o.app.runningTime(e))
		}
		rows[i] = []string{strconv.FormatInt(e.Number, 10), o.app.executionStatus(e.Status), running, functionOf(e), e.Watcher}
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	if err := o.app.printTable(out, []string{"RunID", "Status", "Elapsed", "Function", "Machine"}, rows); err != nil {
		return err
	}
	if page.More {
		fmt.Fprintln(o.app.streams.Err, "There are older ones: `hermes execution list --status queued,running`")
	}
	return nil
}

// printGPUs prints what each GPU does, if there is one.
func (o *topOptions) printGPUs(gpus api.GPUs) error {
	if len(gpus.GPUs) == 0 {
		return nil
	}
	rows := make([][]string, len(gpus.GPUs))
	for i, g := range gpus.GPUs {
		power := int64(0)
		if g.Reading != nil {
			power = g.Reading.PowerMilliwatts
		}
		rows[i] = []string{g.Watcher, g.GPU.UUID, g.GPU.Model, top.Utilisation(g.Reading), top.DeviceMemory(g), top.Power(power), o.app.gpuState(g)}
	}
	out := o.app.streams.Out
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	return o.app.printTable(out, []string{"Machine", "GPU", "Model", "Used", "Memory", "Power", "State"}, rows)
}
