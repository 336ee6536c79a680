package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"golang.org/x/sync/errgroup"

	"github.com/hermes-serverless/hermes/cli/natsctx"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// floodKinds are what a user may flood an instance with.
var floodKinds = []string{"requests", "waits", "queue", "short runs", "output", "connections"}

const (
	// floodConns are connections that ask, each with floodWindow requests under way.
	floodConns, floodWindow = 32, 64
	// floodQueue is how many executions the flood keeps waiting.
	floodQueue = 1000
	// floodOutput is what each of its runs prints.
	floodOutput = 1 << 30
	// floodSubs are subscriptions, floodSubsEach of a connection.
	floodSubs, floodSubsEach = 10_000, 900
)

// flooder floods as one user until it is told to stop.
type flooder struct {
	config string
	client *api.Client
	work   sync.WaitGroup
	mu     sync.Mutex
	did    map[string]int64
}

// runFlooder floods until the context ends, then prints what it did.
func runFlooder(ctx context.Context, kind, config string) error {
	client, err := dialAs(config, floodUser)
	if err != nil {
		return err
	}
	defer client.Conn().Close()
	f := &flooder{config: config, client: client, did: map[string]int64{}}
	switch kind {
	case "requests":
		err = f.onMany(ctx, f.requests)
	case "waits":
		err = f.onMany(ctx, f.waits)
	case "queue":
		err = f.queue(ctx, "lines 20 50\n")
	case "short runs":
		err = f.queue(ctx, "")
	case "output":
		err = f.queue(ctx, fmt.Sprintf("bytes %d\n", floodOutput))
	case "connections":
		err = f.connections(ctx)
	default:
		err = fmt.Errorf("no flood is called %q", kind)
	}
	f.work.Wait()
	if err != nil && ctx.Err() == nil {
		return err
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), floodEnds)
	defer cancel()
	for ended := false; !ended && end.Err() == nil; {
		ended, _ = cancelAll(end, client)
	}
	return json.NewEncoder(os.Stdout).Encode(f.did)
}

func (f *flooder) add(what string, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did[what] += n
}

// answered counts answers by whether they are errors.
func (f *flooder) answered(m *nats.Msg) {
	if m.Header.Get("Nats-Service-Error-Code") != "" {
		f.add("refused", 1)
		return
	}
	f.add("answered", 1)
}

// onMany works on many connections at once.
func (f *flooder) onMany(ctx context.Context, work func(context.Context, *api.Client) error) error {
	for range floodConns {
		client, err := dialAs(f.config, floodUser)
		if err != nil {
			return err
		}
		f.work.Go(func() {
			defer client.Conn().Close()
			if err := work(ctx, client); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "flooder:", err)
			}
		})
	}
	<-ctx.Done()
	return nil
}

// requests asks what costs the services most, without waiting for one answer before the next question.
func (f *flooder) requests(ctx context.Context, c *api.Client) error {
	asks := []struct {
		op   string
		body any
	}{
		{api.OpInfo, api.InfoRequest{}}, {api.OpExecutionList, api.ExecutionList{Limit: 50}}, {api.OpFunctionList, api.FunctionList{}},
		{api.OpFunctionInspect, api.FunctionInspect{Name: single.Name}}, {api.OpExecutionInspect, api.ExecutionRef{Number: 1}}, {api.OpKeysList, api.KeysList{}},
	}
	return f.pipeline(ctx, c, func(i int) (string, any) { a := asks[i%len(asks)]; return a.op, a.body })
}

// waits asks for the ends of executions that nobody has asked for.
func (f *flooder) waits(ctx context.Context, c *api.Client) error {
	return f.pipeline(ctx, c, func(int) (string, any) {
		return api.OpExecutionWait, api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: api.NewID()}, WaitMillis: 30_000}
	})
}

// pipeline keeps floodWindow requests under way.
func (f *flooder) pipeline(ctx context.Context, c *api.Client, next func(i int) (op string, body any)) error {
	inbox, places := c.Conn().NewInbox(), make(chan struct{}, floodWindow)
	sub, err := c.Conn().Subscribe(inbox, func(m *nats.Msg) {
		f.answered(m)
		select {
		case <-places:
		default:
		}
	})
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for i := 0; ; i++ {
		op, body := next(i)
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		if err := c.Conn().PublishRequest(api.Subject(c.User(), op), inbox, raw); err != nil {
			return err
		}
	}
}

// queue keeps a full queue of runs with this input.
func (f *flooder) queue(ctx context.Context, input string) error {
	var waiting atomic.Int64
	for range 8 {
		f.work.Go(func() {
			for ctx.Err() == nil {
				if waiting.Load() >= floodQueue {
					time.Sleep(50 * time.Millisecond)
					continue
				}
				ask := api.Run{ID: api.NewID(), Function: single, Input: events.Input{Inline: []byte(input)}}
				_, err := api.Call[api.Accepted](ctx, f.client, api.OpRun, ask)
				switch {
				case err == nil:
					waiting.Add(1)
					f.add("accepted", 1)
				case ctx.Err() == nil:
					f.add("refused", 1)
				}
			}
		})
	}
	for ctx.Err() == nil {
		page, err := api.Call[api.Executions](ctx, f.client, api.OpExecutionList, api.ExecutionList{Limit: 200})
		if err == nil {
			n := int64(0)
			for _, e := range page.Executions {
				if !e.Status.Final() {
					n++
				}
			}
			if n < 200 { // else there are more than a page
				waiting.Store(n)
			}
		}
		time.Sleep(time.Second)
	}
	return nil
}

// connections come and go, log in in vain, and subscribe to as much as they may.
func (f *flooder) connections(ctx context.Context) error {
	c, err := natsctx.Load(f.config, floodUser)
	if err != nil {
		return err
	}
	for left := floodSubs; left > 0; left -= floodSubsEach {
		client, err := dialAs(f.config, floodUser)
		if err != nil {
			return err
		}
		for range min(left, floodSubsEach) {
			if _, err := client.Conn().Subscribe(client.Conn().NewInbox(), func(*nats.Msg) {}); err != nil {
				return err
			}
			f.add("subscriptions", 1)
		}
		f.work.Go(func() { <-ctx.Done(); client.Conn().Close() })
	}
	for range 8 {
		f.work.Go(func() {
			for ctx.Err() == nil {
				client, err := dialAs(f.config, floodUser)
				if err != nil {
					f.add("turned away", 1)
					continue
				}
				client.Conn().Close()
				f.add("connections", 1)
			}
		})
		f.work.Go(func() {
			for ctx.Err() == nil {
				f.add("logins "+failLogin(ctx, c.URL), 1)
			}
		})
	}
	<-ctx.Done()
	return nil
}

// failLogin logs in with a wrong password, and says how that ended.
func failLogin(ctx context.Context, url string) string {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "without a key"
	}
	public, err := pair.PublicKey()
	if err != nil {
		return "without a key"
	}
	nc, err := nats.Connect(url, api.Guest(public, pair.Sign), nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return "turned away"
	}
	defer nc.Close()
	_, err = api.Ask[api.LoggedIn](ctx, nc, api.LoginSubject(public, api.OpLogin), api.Login{User: floodUser, Password: "not the one"})
	if e, known := api.AsError(err); known {
		return e.Name
	}
	return "without an answer"
}

// cancelAll cancels what the user runs, and reports whether there was nothing left.
func cancelAll(ctx context.Context, c *api.Client) (ended bool, err error) {
	ask := api.ExecutionList{Limit: 500}
	ask.Status = []executions.Status{executions.Queued, executions.Running}
	found := 0
	for {
		page, err := api.Call[api.Executions](ctx, c, api.OpExecutionList, ask)
		if err != nil {
			return false, err
		}
		found += len(page.Executions)
		if err := cancelEach(ctx, c, page.Executions); err != nil {
			return false, err
		}
		if ask.Before = page.Next; !page.More || ask.Before <= 1 {
			return found == 0, nil
		}
	}
}

// cancelEach cancels executions, some at a time.
func cancelEach(ctx context.Context, c *api.Client, all []api.Execution) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, e := range all {
		group.Go(func() error {
			_, err := api.Call[api.Execution](ctx, c, api.OpExecutionCancel, api.ExecutionRef{ID: e.ID})
			if api.IsKind(err, api.State) { // it has ended by itself
				err = nil
			}
			return err
		})
	}
	return group.Wait()
}
