package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
)

const (
	functionsFilter  = "hermes.function.>"
	executionsFilter = "hermes.execution.>"
	// retryAfter lies between two tries at a log that does not answer.
	retryAfter = time.Second
)

// followBuilds appends to functions how their builds ended, until the context ends; it returns nil
// then, and log.ErrClosed when nothing can be read any more.
func (s *Service) followBuilds(ctx context.Context) error {
	for {
		err := s.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, log.ErrClosed):
			return err
		}
		s.Log.Warn("following the builds failed and starts again", "err", err)
		if !pause(ctx) {
			return nil
		}
	}
}

// follow finds what ended while nobody followed, then follows from where the log stood before it
// looked: what comes in between is seen twice, and skipped the second time.
func (s *Service) follow(ctx context.Context) error {
	head, err := s.Executions.Head(ctx, executionsFilter)
	if err != nil {
		return fmt.Errorf("find the end of the executions' log: %w", err)
	}
	builds, err := s.pendingBuilds(ctx)
	if err != nil {
		return err
	}
	for record, err := range s.Executions.Follow(ctx, executionsFilter, head+1) {
		var unknown *log.UndecodableError
		if errors.As(err, &unknown) {
			continue // the projector puts it into quarantine
		}
		if err != nil {
			return fmt.Errorf("follow the executions' log: %w", err)
		}
		s.followBuild(ctx, builds, record)
	}
	return ctx.Err()
}

// followBuild folds an event into its build, and tells the function when that has ended. Builds are
// kept by subject. The log is not asked how the build stands: in a cluster, what is read may be behind
// what is followed, and the end would be missed.
func (s *Service) followBuild(ctx context.Context, builds map[string]executions.Execution, record events.Record) {
	if _, forgotten := record.Data.(events.ExecutionsForgotten); forgotten {
		owner := events.OwnerOf(record.Subject)
		maps.DeleteFunc(builds, func(subject string, _ executions.Execution) bool { return events.OwnerOf(subject) == owner })
		return
	}
	e, follows := builds[record.Subject]
	if requested, ok := record.Data.(events.ExecutionRequested); ok && requested.Kind == events.KindBuild {
		follows = true
	}
	// Most executions are runs: they are not looked at again.
	if !follows || record.Sequence <= e.Sequence {
		return
	}
	e, err := executions.Fold(e, record)
	if err != nil {
		s.Log.Error("an event does not fit its build", "subject", record.Subject, "sequence", record.Sequence, "err", err)
		return
	}
	builds[record.Subject] = e
	if e.Status.Final() {
		s.insist(ctx, record.Subject, func() error { return s.settle(ctx, e) })
		delete(builds, record.Subject)
	}
}

// pendingBuilds finishes what was left unfinished and returns the builds that go on, by subject.
func (s *Service) pendingBuilds(ctx context.Context) (map[string]executions.Execution, error) {
	all, err := foldAll(ctx, s.Functions, s.Log)
	if err != nil {
		return nil, err
	}
	builds := map[string]executions.Execution{}
	for _, f := range all {
		for version, p := range f.Pending {
			if p.Reuses != "" {
				s.insist(ctx, f.Owner+"/"+f.Name, func() error { return s.finishReuse(ctx, f.Owner, f.Name, version) })
				continue
			}
			subject := events.ExecutionSubject(f.Owner, p.Build)
			s.insist(ctx, subject, func() error {
				e, err := s.build(ctx, subject)
				switch {
				case err != nil:
					return err
				case e.Status.Final():
					return s.settle(ctx, e)
				}
				builds[subject] = e
				return nil
			})
		}
	}
	return builds, nil
}

// foldAll reads every function. One whose events do not make sense is left out: nothing can be
// appended to it.
func foldAll(ctx context.Context, from log.Log, logger *slog.Logger) (map[string]functions.Function, error) {
	all, bad := map[string]functions.Function{}, map[string]bool{}
	for record, err := range from.Read(ctx, functionsFilter, 0) {
		var unknown *log.UndecodableError
		if err != nil && !errors.As(err, &unknown) {
			return nil, fmt.Errorf("read the functions' log: %w", err)
		}
		if bad[record.Subject] {
			continue
		}
		f := all[record.Subject]
		if err == nil {
			f, err = functions.Fold(f, record)
		}
		if err != nil {
			logger.Error("a function is left alone: its log makes no sense", "subject", record.Subject, "sequence", record.Sequence, "err", err)
			bad[record.Subject] = true
			delete(all, record.Subject)
			continue
		}
		if !f.Exists() {
			delete(all, record.Subject)
			continue
		}
		all[record.Subject] = f
	}
	return all, nil
}

// build reads a build from the log. One that nobody has asked for yet has no status.
func (s *Service) build(ctx context.Context, subject string) (executions.Execution, error) {
	var e executions.Execution
	for record, err := range s.Executions.Read(ctx, subject, 0) {
		if err != nil {
			return e, fmt.Errorf("read the build %s: %w", subject, err)
		}
		if e, err = executions.Fold(e, record); err != nil {
			return e, fmt.Errorf("fold the build %s: %w", subject, err)
		}
	}
	return e, nil
}

// settle appends the end of a build to its function, if that waits for it.
func (s *Service) settle(ctx context.Context, ended executions.Execution) error {
	_, err := s.commit(ctx, ended.Owner, ended.Request.Function.Name, func(f functions.Function) ([]events.Data, error) {
		if end := decideBuildEnded(f, ended); end != nil {
			return []events.Data{end}, nil
		}
		return nil, nil
	})
	return err
}

func (s *Service) finishReuse(ctx context.Context, owner, name, version string) error {
	_, err := s.commit(ctx, owner, name, func(f functions.Function) ([]events.Data, error) {
		if built := decideReuse(f, version); built != nil {
			return []events.Data{built}, nil
		}
		return nil, nil
	})
	return err
}

// insist does what tells a function the end of its build, again and again while the log does not
// answer. What makes no sense is reported and left: it must not keep others from their ends.
func (s *Service) insist(ctx context.Context, what string, do func() error) {
	for {
		err := do()
		if err == nil || ctx.Err() != nil {
			return
		}
		var impossible *events.ImpossibleError
		var unknown *log.UndecodableError
		if errors.As(err, &impossible) || errors.As(err, &unknown) || errors.Is(err, log.ErrClosed) {
			s.Log.Error("the end of a build cannot be told to its function", "of", what, "err", err)
			return
		}
		s.Log.Warn("the end of a build is not told to its function yet", "of", what, "err", err)
		if !pause(ctx) {
			return
		}
	}
}

func pause(ctx context.Context) bool {
	select {
	case <-time.After(retryAfter):
		return true
	case <-ctx.Done():
		return false
	}
}
