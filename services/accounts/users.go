package accounts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
)

// lookAgain is the wait for a replica that is behind.
const lookAgain = 20 * time.Millisecond

func (s *Service) listKeys(ctx context.Context, caller string, _ api.KeysList) (api.Keys, error) {
	u, err := s.fold(ctx, caller)
	return api.Keys{Keys: shown(u, s.Now(), true)}, err
}

// shown are the keys of a user, the newest first.
func shown(u users.User, now time.Time, all bool) []api.Key {
	keys := []api.Key{}
	for public, k := range u.Keys {
		if gone := expired(k, now); all || !gone {
			keys = append(keys, api.Key{Key: public, Label: k.Label, EnrolledAt: k.EnrolledAt, Expires: k.Expires, Expired: gone})
		}
	}
	slices.SortFunc(keys, func(a, b api.Key) int { return cmp.Or(b.EnrolledAt.Compare(a.EnrolledAt), cmp.Compare(a.Key, b.Key)) })
	return keys
}

// revokeKeys ends keys, and the connections that they opened. The caller's own connection may be one.
func (s *Service) revokeKeys(ctx context.Context, caller string, ask api.KeysRevoke) (api.Keys, error) {
	if (ask.Key == "") != ask.All {
		return api.Keys{}, api.Errorf(api.Invalid, api.InvalidArguments, "either a key is named, or all are meant")
	}
	var gone []api.Key
	_, err := s.commit(ctx, caller, caller, func(u users.User) ([]events.Data, error) {
		decided, revoked, err := decideRevoke(u, ask.Key)
		before := shown(u, s.Now(), true)
		gone = slices.DeleteFunc(before, func(k api.Key) bool { return !slices.Contains(revoked, k.Key) })
		return decided, err
	})
	if err != nil {
		return api.Keys{}, err
	}
	s.endSoon(caller, gone)
	return api.Keys{Keys: gone}, nil
}

// endSoon ends the connections of keys, behind the answer: the caller's may be among them.
func (s *Service) endSoon(user string, keys []api.Key) {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = connectionName(user, k.Key)
	}
	time.AfterFunc(answerWithin, func() {
		ctx, cancel := context.WithTimeout(context.Background(), sweepWithin)
		defer cancel()
		if err := s.live.end(ctx, names...); err != nil {
			s.Log.Warn("cannot end connections of revoked keys yet; they are looked for again", "user", user, "err", err)
		}
	})
}

// unregister removes the caller. The password is asked for: a key that lies around must not be enough.
// From the answer on none of the keys works; what the user has goes behind it, for as long as that
// takes.
func (s *Service) unregister(ctx context.Context, caller string, ask api.Unregister) (api.Unregistered, error) {
	gone := api.Unregistered{User: caller}
	u, err := s.fold(ctx, caller)
	if err != nil {
		return gone, err
	}
	if u.Local {
		return gone, api.Errorf(api.State, api.InvalidArguments, "%s has no password: the NATS server's configuration signs them in", caller).
			WithHint("take the key out of the configuration of the server")
	}
	if len(ask.Password) > api.MaxPasswordBytes {
		return gone, wrong()
	}
	if _, err := s.checkPassword(ctx, caller, ask.Password); err != nil {
		return gone, err
	}
	if _, err := s.commit(ctx, caller, caller, func(u users.User) ([]events.Data, error) { return decideDisable(u, caller, true) }); err != nil {
		return gone, err
	}
	time.AfterFunc(answerWithin, func() {
		select {
		case s.leaving <- caller:
		default: // so many leave that the next start sees to it
		}
	})
	return gone, nil
}

// leave removes a user in steps, each of which may be repeated: the keys stop working, what runs is
// cancelled, functions and output go, then the password, then the name is a tombstone.
func (s *Service) leave(ctx context.Context, name, by string) (api.Unregistered, error) {
	gone := api.Unregistered{User: name}
	u, err := s.commit(ctx, name, by, func(u users.User) ([]events.Data, error) { return decideDisable(u, by, true) })
	if err != nil {
		return gone, err
	}
	if err := s.live.end(ctx, connectionNames(u)...); err != nil {
		return gone, err
	}
	if gone.Functions, gone.Cancelled, err = s.clear(ctx, name); err != nil {
		return gone, fmt.Errorf("remove what %s has: %w", name, err)
	}
	if err := s.forgetPasswords(ctx, u); err != nil {
		return gone, err
	}
	_, err = s.commit(ctx, name, by, func(u users.User) ([]events.Data, error) { return decideUnregister(u, by) })
	return gone, err
}

// clear removes what the user has, by asking the services as the user would. It looks again until
// there is nothing: a request may have been in work when the keys stopped working.
func (s *Service) clear(ctx context.Context, name string) (functions, cancelled int, err error) {
	for found := true; found; {
		f, err := s.deleteFunctions(ctx, name)
		if err != nil {
			return functions, cancelled, err
		}
		c, err := s.cancelExecutions(ctx, name)
		if err != nil {
			return functions, cancelled, err
		}
		functions, cancelled, found = functions+f, cancelled+c, f+c > 0
	}
	return functions, cancelled, s.Output.Purge(ctx, jetstream.WithPurgeSubject(events.OutputSubject("*", name, ">")))
}

// deleteFunctions deletes what the log says that the user has: a list of them is a moment behind it.
func (s *Service) deleteFunctions(ctx context.Context, name string) (int, error) {
	var names []string
	for r, err := range s.Functions.Read(ctx, events.FunctionSubject(name, "*"), 1) {
		var undecodable *log.UndecodableError
		if err != nil && !errors.As(err, &undecodable) {
			return 0, fmt.Errorf("read what functions there are: %w", err)
		}
		if _, function, err := events.ParseFunctionSubject(r.Subject); err == nil && !slices.Contains(names, function) {
			names = append(names, function)
		}
	}
	deleted := 0
	for _, function := range names {
		gone, err := api.Ask[api.Functions](ctx, s.Conn, api.Subject(name, api.OpFunctionDelete), api.FunctionDelete{Name: function})
		if err != nil {
			return deleted, err
		}
		deleted += len(gone.Functions)
	}
	return deleted, nil
}

// cancelExecutions returns when they have ended.
func (s *Service) cancelExecutions(ctx context.Context, name string) (int, error) {
	active, err := s.active(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("list what runs: %w", err)
	}
	cancelled := 0
	for _, e := range active {
		if e.Owner != name {
			continue
		}
		ref := api.ExecutionRef{ID: e.ID}
		ended, err := api.Ask[api.Execution](ctx, s.Conn, api.Subject(name, api.OpExecutionCancel), ref)
		for err == nil && !ended.Status.Final() {
			ended, err = api.Ask[api.Execution](ctx, s.Conn, api.Subject(name, api.OpExecutionWait), api.ExecutionWait{ExecutionRef: ref, WaitMillis: 5000})
		}
		if err != nil && !api.IsKind(err, api.State) {
			return cancelled, err
		}
		cancelled++
	}
	return cancelled, nil
}

// active returns everything that has not ended, as of all that the user has asked for until now: a view
// may be behind that, on one replica more than on another, and what it does not show yet would go on
// without anybody whom it belongs to.
func (s *Service) active(ctx context.Context, name string) ([]executions.Execution, error) {
	head, err := s.Executions.Head(ctx, "hermes.execution.*."+name+".*")
	if err != nil {
		return nil, err
	}
	for {
		if err := s.Views.WaitForExecutions(ctx, head); err != nil {
			return nil, err
		}
		active, at, err := s.Views.Active(ctx)
		if err != nil || at >= head {
			return active, err
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// finishLeaving removes those who asked for it, and those whose removal was interrupted. They do not
// wait for one another: one may take long, or not come to its end.
func (s *Service) finishLeaving(ctx context.Context) error {
	if err := s.directory.catchUp(ctx, s.Users); err != nil {
		return err
	}
	var work sync.WaitGroup
	defer work.Wait()
	for _, u := range s.directory.registered() {
		if u.Leaving {
			work.Go(func() { s.finishOne(ctx, u.Name, source) })
		}
	}
	for {
		select {
		case name := <-s.leaving:
			work.Go(func() { s.finishOne(ctx, name, name) })
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// finishOne tries until it is done, or until the next start.
func (s *Service) finishOne(ctx context.Context, name, by string) {
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, 10*time.Minute)
		_, err := s.leave(within, name, by)
		cancel()
		if err == nil {
			return
		}
		s.Log.Warn("a user cannot be removed yet", "user", name, "err", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}
