package instance

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/nats-io/jsm.go/natscontext"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	natsconf "github.com/hermes-serverless/hermes/deployments/nats"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/api"
)

// maxPastUsers bounds the users of a replay that are picked without being named.
const maxPastUsers = 20

// ReplayOptions say what to replay.
type ReplayOptions struct {
	// Source is the instance, as its operator sees it. Nothing of it is changed.
	Source jetstream.JetStream
	// Until is the moment: of each log what comes before the first later event is replayed.
	Until time.Time
	// Users are those as whom the past can be looked at; none: all that had done anything.
	Users []string
	// Parent gets the folder of the replay, which goes when it ends. Empty is the system's.
	Parent  string
	Version string
	Log     *slog.Logger
	// Ready is called with the contexts, the operator's first, when there is something to look at.
	Ready func(contexts []string, events int)
}

// Replay folds a copy of an instance's logs up to a moment in an instance of its own, which answers who
// looks and refuses who would change something, until the context ends. It leaves nothing.
func Replay(ctx context.Context, o ReplayOptions) (err error) {
	dir, err := os.MkdirTemp(o.Parent, "hermes-replay-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	users, err := pastUsers(ctx, o)
	if err != nil {
		return err
	}
	data, err := OpenDataDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	prefix, release, err := claimPast()
	if err != nil {
		return err
	}
	defer release()
	in := &Instance{data: data}
	keys, contexts, err := in.startPast(o, prefix, users)
	defer func() {
		if in.server != nil {
			in.server.Shutdown()
			in.server.WaitForShutdown()
		}
	}()
	if err != nil {
		return err
	}
	nc, err := in.connect("hermesd replay", "", keys.services, o.Log)
	if err != nil {
		return err
	}
	defer nc.Close()
	s, n, err := pastServices(ctx, o, nc)
	if err != nil {
		return err
	}
	if err := SaveContexts(contexts, o.Log); err != nil {
		return err
	}
	names := make([]string, len(contexts))
	for i, c := range contexts {
		names[i] = c.Name
	}
	defer func() {
		for _, name := range names {
			err = errors.Join(err, natscontext.DeleteContext(name))
		}
	}()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.look(ctx) })
	g.Go(func() error {
		if err := answers(ctx, nc); err != nil {
			return err
		}
		o.Ready(names, n)
		return nil
	})
	return ignoreCanceled(g.Wait())
}

// answers returns when those who look are answered, or the context ends.
func answers(ctx context.Context, nc *nats.Conn) error {
	const nobody = "nobody"
	for {
		_, err := api.Ask[api.Info](ctx, nc, api.Subject(nobody, api.OpInfo), api.InfoRequest{})
		if err == nil {
			_, err = api.Ask[api.Functions](ctx, nc, api.Subject(nobody, api.OpFunctionList), api.FunctionList{})
		}
		if err == nil {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// startPast starts the server of a replay, and returns its contexts.
func (in *Instance) startPast(o ReplayOptions, prefix string, users []string) (keyring, []Context, error) {
	keys, err := loadKeys(in.data)
	if err != nil {
		return keys, nil, err
	}
	conf := natsconf.Config{
		ServerName: "hermes-past", Listen: "127.0.0.1:0", StoreDir: in.data.Path("jetstream"), Sync: "1m",
		ServicesKey: keys.services.public, OperatorKey: keys.operator.public, Callout: keys.callout.config(),
	}
	contexts := []Context{{Name: prefix + "operator", KeyFile: keys.operator.file, Description: "Hermes in the past, as its operator"}}
	for _, user := range users {
		k, err := loadKey(in.data.Path("keys", "of", user+".nk"))
		if err != nil {
			return keys, nil, err
		}
		conf.Users = append(conf.Users, natsconf.Identity{Name: user, Key: k.public})
		contexts = append(contexts, Context{
			Name: prefix + pastName(user), KeyFile: k.file, Description: "Hermes in the past, as " + user, InboxPrefix: api.InboxPrefix(user),
		})
	}
	if in.server, err = startServer(in.data, conf, o.Log); err != nil {
		return keys, nil, err
	}
	for i := range contexts {
		contexts[i].URL = "nats://" + in.server.Addr().String()
	}
	return keys, contexts, nil
}

// pastName is what the context of a user is called behind the prefix. The operator has a context, too.
func pastName(user string) string {
	if user == "operator" {
		return "user.operator" // no name has a dot
	}
	return user
}

// pastServices copies the past and folds it. It returns of how many events that was.
func pastServices(ctx context.Context, o ReplayOptions, nc *nats.Conn) (*services, int, error) {
	policy, err := Limits{}.policy()
	if err != nil {
		return nil, 0, err
	}
	moment := o.Until.Local().Format(time.DateTime)
	s, err := newServices(ctx, serviceOptions{
		conn: nc, replicas: 1, policy: policy, version: o.Version, log: o.Log,
		readOnly: api.Errorf(api.State, api.ReadOnlyErr, "this is how things were at %s: nothing can be run or changed here", moment).
			WithHint("ask the instance itself"),
		noOutput: "output is not replayed, the instance itself may have it",
	})
	if err != nil {
		return nil, 0, err
	}
	n, err := copyPast(ctx, o, nc)
	if err != nil {
		return nil, 0, err
	}
	for _, p := range s.projectors {
		if err := catchUp(ctx, p); err != nil {
			return nil, 0, fmt.Errorf("fold %s: %w", p.Bucket(), err)
		}
	}
	return s, n, nil
}

// readPast hands over what is in the logs before the moment.
func readPast(ctx context.Context, o ReplayOptions, take func(subject string, m events.Message) error) error {
	logs := OpenLogs(o.Source)
	whole := jslog.NewWhole(o.Source, streams.History, streams.Executions)
	for _, read := range []iter.Seq2[events.Record, error]{
		logs.Functions.Read(ctx, ">", 1), whole.Read(ctx, 1), logs.Fleet.Read(ctx, ">", 1), logs.Users.Read(ctx, ">", 1), logs.Bases.Read(ctx, ">", 1),
	} {
		if err := readUntil(read, o.Until, take); err != nil {
			return fmt.Errorf("read the logs: %w", err)
		}
	}
	return nil
}

func readUntil(read iter.Seq2[events.Record, error], until time.Time, take func(subject string, m events.Message) error) error {
	for r, err := range read {
		var undecodable *log.UndecodableError
		m := events.Message{}
		switch {
		case errors.As(err, &undecodable):
			m = undecodable.Message
		case err != nil:
			return err
		case r.Time.After(until):
			return nil
		default:
			if m, err = events.Encode(r.Event); err != nil {
				return err
			}
		}
		if err := take(r.Subject, m); err != nil {
			return err
		}
	}
	return nil
}

// pastUsers are those as whom the past can be looked at.
func pastUsers(ctx context.Context, o ReplayOptions) ([]string, error) {
	if len(o.Users) > 0 {
		return o.Users, wereThere(ctx, o)
	}
	owners := map[string]bool{}
	err := readPast(ctx, o, func(subject string, _ events.Message) error {
		if owner := events.OwnerOf(subject); events.CheckUserName(owner) == nil {
			owners[owner] = true
		}
		return nil
	})
	if len(owners) > maxPastUsers {
		return nil, fmt.Errorf("%d users had done something by then: name those whose past you want to see with --user", len(owners))
	}
	return slices.Sorted(maps.Keys(owners)), err
}

// wereThere refuses a name that nobody had by then: its past would be empty.
func wereThere(ctx context.Context, o ReplayOptions) error {
	for _, user := range o.Users {
		there := false
		read := OpenLogs(o.Source).Users.Read(ctx, events.UserSubject(user), 1)
		err := readUntil(read, o.Until, func(string, events.Message) error { there = true; return nil })
		if err != nil {
			return fmt.Errorf("read the log of users: %w", err)
		}
		if !there {
			return api.Errorf(api.NotFound, api.NoSuchUser, "there was no user %s at %s", user, o.Until.Local().Format(time.DateTime)).
				WithHint("`hermesd user list` shows who there is now")
		}
	}
	return nil
}

// copyPast stores the past in streams that are empty. In each, sequences are those that it has in the
// source, but for gaps that users left who are forgotten: an event that cannot be stored ends it.
func copyPast(ctx context.Context, o ReplayOptions, nc *nats.Conn) (n int, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) {
			fail(fmt.Errorf("store an event of %s: %w; is there room for a copy of the logs? --data names a directory", m.Subject, err))
		}))
	if err != nil {
		return 0, err
	}
	err = readPast(ctx, o, func(subject string, m events.Message) error {
		stored := &nats.Msg{Subject: subject, Data: m.Data, Header: nats.Header{}}
		for key, value := range m.Header {
			stored.Header.Set(key, value)
		}
		n++
		if _, err := js.PublishMsgAsync(stored, jetstream.WithStallWait(time.Minute)); err != nil {
			return fmt.Errorf("store what happened: %w", err)
		}
		return ctx.Err()
	})
	if err == nil {
		select {
		case <-js.PublishAsyncComplete():
			err = allStored(ctx, js, n)
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return n, context.Cause(ctx)
	}
	return n, err
}

// allStored counts: an answer that the last events were refused may come behind that they were answered.
func allStored(ctx context.Context, js jetstream.JetStream, want int) error {
	n := 0
	for _, name := range []string{streams.Functions, streams.Executions, streams.Fleet, streams.Users, streams.Bases} {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		n += int(stream.CachedInfo().State.Msgs)
	}
	if n != want {
		return fmt.Errorf("of %d events of the past %d could be stored: try again", want, n)
	}
	return nil
}
