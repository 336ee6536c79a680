package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/hermes-serverless/hermes/cli/follow"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// quotaPatience is how long a refusal for want of room is not believed when nothing of the batch is
// under way any more that could make room: rates are over sooner.
const quotaPatience = 5 * time.Second

// mapJob is one input, read and not yet sent.
type mapJob struct {
	mapInput
	in *input
	id string
}

// mapEnd is how the execution of an input ended.
type mapEnd struct {
	mapInput
	exec api.Execution
	// lost says why its output, which was to be written, is not whole.
	lost string
}

// mapper sends the inputs of a map and waits for their ends. It holds as many inputs as there are
// workers, however many there are.
type mapper struct {
	*functionMapOptions
	client   *api.Client
	progress *mapProgress
	outputs  *mapOutputs
	maxInput func() (int64, error)

	// sending is over when nothing more is to be sent.
	sending context.Context
	halt    context.CancelFunc
	// failed is why the sending stopped, if it failed.
	failed atomic.Pointer[error]
	// accepted counts what the server has taken, underWay those of them that have not ended.
	accepted, underWay atomic.Int64
	// resumed: the batch was begun before.
	resumed bool
}

func newMapper(o *functionMapOptions, client *api.Client, total int64) *mapper {
	m := &mapper{functionMapOptions: o, client: client, progress: newMapProgress(o.app, total), resumed: o.batch != ""}
	if !m.resumed {
		o.batch = api.NewID()
	}
	m.maxInput = sync.OnceValues(maxInput(o.ctx, client))
	if o.out != "" {
		m.outputs = &mapOutputs{dir: o.out}
	}
	m.sending, m.halt = context.WithCancel(o.ctx)
	return m
}

// fail stops the sending. What is under way is waited for.
func (m *mapper) fail(err error) {
	m.failed.CompareAndSwap(nil, &err)
	m.halt()
}

// start begins to work; the channel is closed when all is over.
func (m *mapper) start(ctx context.Context, inputs *mapInputs) <-chan mapEnd {
	jobs, ends := make(chan mapJob), make(chan mapEnd)
	go func() {
		defer close(jobs)
		if err := m.read(ctx, inputs, jobs); err != nil {
			m.fail(err)
		}
	}()
	var workers sync.WaitGroup
	for range m.concurrency {
		workers.Go(func() {
			for {
				select {
				case job, more := <-jobs:
					if !more {
						return
					}
					m.work(ctx, job, ends)
				case <-m.sending.Done(): // the reader may hang on a pipe
					return
				}
			}
		})
	}
	go func() {
		workers.Wait()
		close(ends)
	}()
	return ends
}

// read hands out the inputs. The first is sent here: its version is that of all.
func (m *mapper) read(ctx context.Context, inputs *mapInputs, jobs chan<- mapJob) error {
	for in, err := range inputs.each {
		if err != nil {
			return err
		}
		if m.sending.Err() != nil {
			return nil
		}
		job, err := m.prepare(in)
		if err != nil {
			return fmt.Errorf("%s: %w", in.label(), err)
		}
		if in.index == 1 {
			if err := m.first(ctx, job); err != nil {
				job.in.close()
				return err
			}
		}
		select {
		case jobs <- job:
		case <-m.sending.Done():
			job.in.close()
			return nil
		}
	}
	return nil
}

// prepare reads an input: a small one into the request, a large one so that it can be sent ahead.
func (m *mapper) prepare(in mapInput) (mapJob, error) {
	job := mapJob{mapInput: in}
	var err error
	job.in, err = readInput(in.Reader, m.maxInput)
	if f, ok := in.Reader.(*os.File); ok && (err != nil || job.in.content != f) {
		_ = f.Close()
	}
	if err != nil {
		return job, err
	}
	job.Reader = nil
	job.id, err = api.BatchExecutionID(events.BatchRef{ID: m.batch, Index: in.index})
	if err != nil {
		job.in.close()
	}
	return job, err
}

// first has the server choose the version, or say which one it chose when the batch began.
func (m *mapper) first(ctx context.Context, job mapJob) error {
	var accepted api.Accepted
	var away error // who has not even begun does not wait for a server
	err := m.keep(ctx, func(ctx context.Context) (err error) {
		if err = m.upload(ctx, job); err == nil {
			accepted, err = send[api.Accepted](ctx, m.client, api.OpRun, m.request(job))
		}
		if api.IsKind(err, api.Unavailable) {
			away, err = err, nil
		}
		return err
	})
	if err = errors.Join(err, away); err != nil {
		return suggest(ctx, m.client, m.ref, err)
	}
	_, notAVersion := semver.StrictNewVersion(m.ref.Version)
	if chosen := accepted.Function.Version; notAVersion == nil && chosen != m.ref.Version {
		return api.Errorf(api.Exists, api.IDInUse, "batch %s runs %s, not version %s", m.batch, accepted.Function, m.ref.Version).
			WithHint("go on with its own version, or leave --resume out to begin a new batch")
	}
	m.ref = accepted.Function
	return nil
}

func (m *mapper) request(job mapJob) api.Run {
	return api.Run{
		ID: job.id, Function: m.ref, Input: job.in.Input, TimeoutMillis: m.timeout.Milliseconds(), GPU: m.gpu.ask(),
		Batch: &events.BatchRef{ID: m.batch, Index: job.index},
	}
}

// work sends one input and waits for its end.
func (m *mapper) work(ctx context.Context, job mapJob, ends chan<- mapEnd) {
	if m.sending.Err() != nil {
		job.in.close()
		return
	}
	_, err := m.accept(ctx, job)
	job.in.close()
	if err != nil {
		if ctx.Err() == nil && m.sending.Err() == nil {
			m.fail(refusedInput(job.mapInput, err))
		}
		return
	}
	m.accepted.Add(1)
	m.underWay.Add(1)
	defer m.underWay.Add(-1)
	end := mapEnd{mapInput: job.mapInput}
	if err = m.untilEnd(ctx, job.id, &end.exec); err == nil && m.outputs != nil {
		err = m.keep(ctx, func(ctx context.Context) (err error) {
			end.lost, err = m.outputs.save(ctx, m.client, end)
			return err
		})
	}
	if err != nil {
		if ctx.Err() == nil {
			m.fail(fmt.Errorf("%s: %w", job.label(), err))
		}
		return
	}
	select {
	case ends <- end:
	case <-ctx.Done():
	}
}

// refusedInput says which input the server refused, and keeps why.
func refusedInput(in mapInput, err error) error {
	e, ok := api.AsError(err)
	if !ok {
		return fmt.Errorf("%s: %w", in.label(), err)
	}
	c := *e
	c.Message = in.label() + " was refused: " + e.Message
	return &c
}

// accept has an input accepted; it may have been before.
func (m *mapper) accept(ctx context.Context, job mapJob) (accepted api.Accepted, err error) {
	// What stops the sending ends the wait for room, not the request that may be on its way.
	err = m.keep(ctx, func(ctx context.Context) (err error) {
		if err := m.upload(ctx, job); err != nil {
			return err
		}
		accepted, err = api.Call[api.Accepted](ctx, m.client, api.OpRun, m.request(job))
		return err
	})
	return accepted, err
}

// upload brings a large input, unless the server has it.
func (m *mapper) upload(ctx context.Context, job mapJob) error {
	if job.in.Blob == nil {
		return nil
	}
	if _, err := job.in.content.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the input again: %w", err)
	}
	return m.client.Upload(ctx, *job.in.Blob, job.in.content, nil)
}

// untilEnd waits for an execution's end.
func (m *mapper) untilEnd(ctx context.Context, id string, e *api.Execution) error {
	ask := api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: id}, WaitMillis: askedWait.Milliseconds()}
	for !e.Status.Final() {
		err := m.keep(ctx, func(ctx context.Context) (err error) {
			*e, err = follow.Ask[api.Execution](ctx, m.client, askedWait+api.DefaultTimeout, api.OpExecutionWait, ask)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// keep asks until it is answered: it goes on through an outage of the server, and waits for room under
// a quota as long as something of the batch is under way.
func (m *mapper) keep(ctx context.Context, ask func(context.Context) error) error {
	var full time.Time
	for {
		err := ask(ctx)
		var e *api.Error
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case api.IsKind(err, api.Unavailable):
			m.progress.obstacle(err, "%s; waiting for it to come back")
		case errors.As(err, &e) && e.Name == api.QuotaExceeded && !e.Never:
			// Of a batch that goes on, what the server has of it may be under way.
			if m.underWay.Load() > 0 || m.resumed || full.IsZero() {
				full = time.Now()
			}
			if m.sending.Err() != nil || time.Since(full) > quotaPatience {
				return err
			}
			m.progress.obstacle(err, "%s; waiting for room")
		default:
			return err
		}
		_ = sleep(ctx, sendPause)
	}
}
