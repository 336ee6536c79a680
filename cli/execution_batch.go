package cli

import (
	"context"
	"errors"
	"sync"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// cancelsAtOnce is how many executions of a batch are cancelled at the same time.
const cancelsAtOnce = 16

// completeBatches offers the batches of the caller's latest executions.
func (a *app) completeBatches(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	page, err := completeCall[api.Executions](a, cmd.Context(), api.OpExecutionList, api.ExecutionList{Limit: maxPage})
	if err != nil {
		return nil, noFiles
	}
	var batches []string
	seen := map[string]bool{}
	for _, e := range page.Executions {
		if b := e.Request.Batch; b != nil && !seen[b.ID] {
			seen[b.ID] = true
			batches = append(batches, b.ID+"\t"+functionOf(e)+", "+clockTime(e.RequestedAt))
		}
	}
	return batches, noFiles | cobra.ShellCompDirectiveKeepOrder
}

// batchFlag names a batch.
func (a *app) batchFlag(cmd *cobra.Command, batch *string, what string) {
	cmd.Flags().StringVar(batch, "batch", "", what)
	_ = cmd.RegisterFlagCompletionFunc("batch", a.completeBatches)
}

// checkBatchKnown fails if the caller has no execution of the batch.
func checkBatchKnown(ctx context.Context, client *api.Client, batch string) error {
	page, err := api.Call[api.Executions](ctx, client, api.OpExecutionList, api.ExecutionList{
		ExecutionFilter: api.ExecutionFilter{Batch: batch}, Limit: 1,
	})
	if err == nil && len(page.Executions) == 0 {
		err = noSuchBatch(batch)
	}
	return err
}

func noSuchBatch(batch string) error {
	return api.Errorf(api.NotFound, api.NoSuchRun, "you have no execution of a batch %s", batch).
		WithHint("`hermes execution list -o jsonl` shows which are of one")
}

// cancelBatch asks for the end of what waits and runs of a batch, the newest first: what waits is not
// to be started for what is ended before it. It returns how many it asked for.
func cancelBatch(ctx context.Context, client *api.Client, batch string) (asked int, err error) {
	w := &walk{client: client, filter: api.ExecutionFilter{Batch: batch, Status: []executions.Status{executions.Queued, executions.Running}}}
	refs := make(chan api.ExecutionRef)
	var workers sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range cancelsAtOnce {
		workers.Go(func() {
			for ref := range refs {
				_, err := api.Call[api.Execution](ctx, client, api.OpExecutionCancel, ref)
				var e *api.Error
				mu.Lock()
				switch {
				case errors.As(err, &e) && e.Name == api.ProcessFinished:
				case err != nil:
					failed = err
				default:
					asked++
				}
				mu.Unlock()
			}
		})
	}
	err = w.each(ctx, func(e api.Execution) error {
		if e.CancelRequestedBy != "" {
			return nil
		}
		select {
		case refs <- api.ExecutionRef{ID: e.ID}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	close(refs)
	workers.Wait()
	return asked, errors.Join(err, failed)
}
