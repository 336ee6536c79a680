package cli

import (
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// inspect gets the execution as it is, or as it was at the moment that was asked for.
func (o *executionInspectOptions) inspect(client *api.Client) (api.Execution, error) {
	if o.moment.IsZero() {
		return api.Call[api.Execution](o.ctx, client, api.OpExecutionInspect, o.ref)
	}
	h, err := api.Call[api.History](o.ctx, client, api.OpExecutionHistory, o.ref)
	if err != nil {
		return api.Execution{}, err
	}
	e, err := stateAt(h, o.moment)
	if err != nil {
		return e, err
	}
	// What goes on then has gone on until then.
	then := *o.app
	then.now = func() time.Time { return o.moment }
	o.app = &then
	return e, nil
}

// stateAt folds a history up to a moment.
func stateAt(h api.History, moment time.Time) (api.Execution, error) {
	var e api.Execution
	history := make([]events.Record, 0, len(h.Events))
	for _, stored := range h.Events {
		// A later one that cannot be read is of no consequence.
		if stored.Time.After(moment) {
			break
		}
		r, err := stored.Record()
		if err != nil {
			return e, err
		}
		history = append(history, r)
	}
	var err error
	if e.Execution, err = executions.At(history, moment); err != nil {
		return e, api.Errorf(api.Internal, api.InternalError, "the history of execution %s cannot be folded: %v", h.ID, err)
	}
	e.Number = h.Number
	if e.Status == "" {
		missing := api.Errorf(api.NotFound, api.NoSuchRun, "execution %s was not there at %s", name(e, h.ID), moment.Format(time.RFC3339))
		if len(h.Events) > 0 {
			missing = missing.WithHint("it was requested at %s", h.Events[0].Time.In(moment.Location()).Format(time.RFC3339Nano))
		}
		return e, missing
	}
	return e, nil
}

// output hands over what is stored of the output, or what of it had been printed at the moment that
// was asked for, and returns what is missing.
func (o *executionInspectOptions) output(client *api.Client, e api.Execution, write func(api.Chunk) error) (missing, error) {
	if o.moment.IsZero() {
		return readOutput(o.ctx, client, e, write)
	}
	until := func(c api.Chunk) error {
		// Another attempt's output is not this one's.
		if c.Attempt != e.Attempt || c.Time.After(o.moment) {
			return nil
		}
		return write(c)
	}
	return readOutput(o.ctx, client, e, until)
}
