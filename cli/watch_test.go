package cli

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/cli/iostreams"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// stopsAt collects what is written, and stops when a text is in it.
type stopsAt struct {
	safeBuffer
	text string
	stop func()
}

func (s *stopsAt) Write(p []byte) (int, error) {
	n, err := s.safeBuffer.Write(p)
	if strings.Contains(s.String(), s.text) {
		s.stop()
	}
	return n, err
}

// TestWatchSeesWhatAnOutageHid: the last event is heard, but the list that it calls for fails, and
// nothing happens any more.
func TestWatchSeesWhatAnOutageHid(t *testing.T) {
	for name, terminal := range map[string]bool{"a program": false, "a terminal": true} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t)
			var heard, listed atomic.Int64
			answer(s, api.OpEvents, func(api.EventsRequest) (api.Events, error) {
				if heard.Add(1) == 2 {
					return api.Events{Events: make([]api.ListedEvent, 1)}, nil
				}
				time.Sleep(10 * time.Millisecond) // a server waits for something to happen
				return api.Events{}, nil
			})
			answer(s, api.OpExecutionList, func(api.ExecutionList) (api.Executions, error) {
				e := state(executions.Running, func(e *api.Execution) { e.ID, e.Sequence = "A", 1 })
				switch listed.Add(1) {
				case 1:
				case 2:
					return api.Executions{}, api.Errorf(api.Unavailable, api.ServerUnavailable, "restarting")
				default:
					e.Status, e.Sequence = executions.Success, 2
				}
				return api.Executions{Executions: []api.Execution{e}}, nil
			})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			out := &stopsAt{text: "success", stop: cancel}
			o := &executionListOptions{app: newApp(&iostreams.Streams{Out: out, Err: out}), ctx: ctx, limit: 50}
			show := o.report
			if terminal {
				show = o.draw
			}
			if err := show(api.NewClient(s.nc, "ana")); !errors.Is(err, context.Canceled) {
				t.Errorf("%v; it shows %q", err, out.String())
			}
		})
	}
}
