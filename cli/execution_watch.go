package cli

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/hermes-serverless/hermes/cli/follow"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// watchWait is how long one request waits for something to happen.
	watchWait = 5 * time.Second
	// redrawEvery bounds how often a terminal is drawn anew, and how old its running times get.
	redrawEvery = 200 * time.Millisecond
	tickEvery   = time.Second
	// awayNote is how long a server may be away before that is told: one that is restarted is there again sooner.
	awayNote = time.Second
)

// backAgain ends an outage.
const backAgain = "the server is back"

// clearScreen moves to the top left and clears what is below.
const clearScreen = "\x1b[H\x1b[2J"

// ear hears of the user's events, through whatever happens to the server.
type ear struct {
	app     *app
	client  *api.Client
	request api.EventsRequest
	// silent is since when it has not answered, away that this was told.
	silent time.Time
	away   bool
}

// begin makes what is heard begin now, unless the request says otherwise.
func (h *ear) begin(ctx context.Context) ([]api.ListedEvent, error) {
	h.request.WaitMillis = 0
	return h.next(ctx)
}

// next returns events as they happen; none, when nothing has for a while.
func (h *ear) next(ctx context.Context) ([]api.ListedEvent, error) {
	for {
		most := time.Duration(h.request.WaitMillis)*time.Millisecond + api.DefaultTimeout
		page, err := follow.Ask[api.Events](ctx, h.client, most, api.OpEvents, h.request)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case api.IsKind(err, api.Unavailable):
			h.missed(err)
			_ = sleep(ctx, sendPause)
			continue
		case err != nil:
			return nil, err
		}
		if h.away {
			h.app.note(backAgain)
		}
		h.away, h.silent = false, time.Time{}
		h.request.Cursor = page.Cursor
		if h.request.WaitMillis = watchWait.Milliseconds(); page.More {
			h.request.WaitMillis = 0
		}
		return page.Events, nil
	}
}

// missed tells of an outage, unless it is over soon.
func (h *ear) missed(err error) {
	now := h.app.now()
	if h.silent.IsZero() {
		h.silent = now
	}
	if !h.away && now.Sub(h.silent) >= awayNote {
		h.app.note("%s; waiting for it to come back", describe(err).Message)
		h.away = true
	}
}

// report prints each execution, and again whenever it has changed.
func (o *executionListOptions) report(client *api.Client) error {
	h := &ear{app: o.app, client: client}
	if _, err := h.begin(o.ctx); err != nil {
		return err
	}
	lines := o.app.inLines()
	seen := map[string]uint64{}
	for {
		found, err := o.newest(client)
		if err != nil && !api.IsKind(err, api.Unavailable) {
			return err
		}
		// What is not listed any more is not printed any more.
		listed := make(map[string]uint64, len(found))
		for _, e := range slices.Backward(found) {
			if seen[e.ID] != e.Sequence {
				if err := lines.printJSON(lines.executionJSON(e)); err != nil {
					return err
				}
			}
			listed[e.ID] = e.Sequence
		}
		if err == nil {
			seen = listed
		}
		for {
			events, failed := h.next(o.ctx)
			if failed != nil {
				return failed
			}
			// What could not be listed is asked for again, also when nothing happens any more.
			if len(events) > 0 || err != nil {
				break
			}
		}
	}
}

// newest lists them, or none if it fails.
func (o *executionListOptions) newest(client *api.Client) (found []api.Execution, err error) {
	err = o.walk(client).each(o.ctx, func(e api.Execution) error { found = append(found, e); return nil })
	if err != nil {
		return nil, err
	}
	return found, nil
}

// draw keeps the list on a terminal.
func (o *executionListOptions) draw(client *api.Client) error {
	ctx, cancel := context.WithCancel(o.ctx)
	defer cancel()
	h := &ear{app: o.app, client: client}
	if _, err := h.begin(ctx); err != nil {
		return err
	}
	changed, failed := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		for {
			events, err := h.next(ctx)
			if err != nil {
				failed <- err
				return
			}
			if len(events) > 0 {
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		}
	}()
	found, err := o.newest(client)
	for {
		if err != nil && !api.IsKind(err, api.Unavailable) {
			return err
		}
		if err := o.show(found); err != nil {
			return err
		}
		_ = sleep(ctx, redrawEvery)
		select {
		case err := <-failed:
			return err
		case <-changed:
		case <-time.After(tickEvery):
			if err == nil {
				continue
			}
		}
		// Also what could not be listed the last time.
		var again []api.Execution
		if again, err = o.newest(client); err == nil {
			found = again
		}
	}
}

// show draws the list as it fits the terminal: what does not would scroll away what stands above it.
func (o *executionListOptions) show(found []api.Execution) error {
	columns, rows := o.app.streams.OutSize()
	if most := rows - 2; most > 0 && len(found) > most {
		found = found[:most]
	}
	var list bytes.Buffer
	if err := o.print(&list, found); err != nil {
		return err
	}
	screen := clearScreen
	for line := range strings.Lines(list.String()) {
		if columns > 0 {
			line = ansi.Truncate(strings.TrimSuffix(line, "\n"), columns, "…") + "\n"
		}
		screen += line
	}
	_, err := io.WriteString(o.app.streams.Out, screen)
	return err
}
