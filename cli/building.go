package cli

import (
	"context"
	"errors"
	"time"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// buildAppears is how long the execution of an accepted build may take to be there: the registry
// answers before the orchestrator has taken it up.
const buildAppears = 15 * time.Second

// building is what build and deploy share: a packed source, the server and the id of the build.
type building struct {
	app    *app
	ctx    context.Context
	client *api.Client
	source *source
	id     string
	viewer *viewer
	done   func()
	// tail is the end of the build's output where it is not shown as it is printed.
	tail tail
}

// tailBytes is how much of a failed build's output is in the error object.
const tailBytes = 4096

// tail keeps the end of what is written to it.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	if extra := len(*t) - tailBytes; extra > 0 {
		*t = append((*t)[:0], (*t)[extra:]...)
	}
	return len(p), nil
}

// newBuilding brings the folder to the server and begins to listen to its build.
func newBuilding(ctx context.Context, a *app, dir string) (_ *building, err error) {
	b := &building{app: a, ctx: ctx, id: api.NewID(), done: func() {}}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.source, err = openSource(ctx, dir); err != nil {
		return nil, err
	}
	if b.client, b.done, err = a.connect(); err != nil {
		b.done = func() {}
		return nil, err
	}
	if err = a.upload(ctx, b.client, b.source.blob, b.source.archive, "upload"); err != nil {
		return nil, err
	}
	b.viewer = a.newViewer(b.client, b.id)
	if !a.human() {
		// stdout is for the result, stderr for an error object.
		b.viewer.write = splitOutput(&b.tail, &b.tail)
	}
	if err = b.viewer.subscribe(); err != nil {
		b.viewer = nil
		return nil, err
	}
	return b, nil
}

func (b *building) close() {
	if b.viewer != nil {
		b.viewer.close()
	}
	b.done()
	if b.source != nil {
		b.source.close()
	}
}

// watch shows the compiler's output and returns the ended build; one that failed is an error too.
func (b *building) watch(minSequence uint64) (api.Execution, error) {
	if minSequence > 0 {
		b.viewer.ref.MinSequence = minSequence
	} else {
		b.viewer.until = time.Now().Add(buildAppears)
	}
	e, err := b.viewer.watch(b.ctx, true)
	if errors.Is(err, context.Canceled) {
		return e, &exitError{code: exitCancelled}
	}
	if err != nil || e.Status == executions.Success {
		return e, err
	}
	e = b.app.numbered(b.ctx, b.client, e)
	if e.Status == executions.Cancelled {
		return e, &exitError{code: exitCancelled, err: api.Errorf(api.State, buildCancelled,
			"the build of %s was %s", e.Request.Function, executionError(e))}
	}
	failed := api.Errorf(api.State, buildFailed, "the build of %s failed: %s", e.Request.Function, buildReason(e)).WithDetail(string(b.tail))
	if e.Attempt > 0 { // else it has printed nothing, and its reason says what to do
		failed = failed.WithHint("`hermes execution logs %s` shows its output again", name(e, e.ID))
	}
	return e, &exitError{code: exitFailed, err: failed}
}

func buildReason(e api.Execution) string {
	if e.Reason == "" {
		return executionError(e)
	}
	return e.Reason + ": " + executionError(e)
}
