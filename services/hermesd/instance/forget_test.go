package instance_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// everything is all that an instance's streams, buckets and stores have, as text.
func everything(ctx context.Context, t *testing.T, operator *nats.Conn) (all []string) {
	t.Helper()
	js, err := jetstream.New(operator)
	if err != nil {
		t.Fatal(err)
	}
	for name := range js.StreamNames(ctx).Name() {
		for next, more := uint64(1), true; more; {
			var some []*jetstream.RawStreamMsg
			if some, more, err = get.Next(ctx, js, name, ">", next, 100); err != nil {
				t.Fatal(err)
			}
			for _, m := range some {
				text := fmt.Sprintf("%s %s %v %s", name, m.Subject, m.Header, m.Data)
				for _, token := range strings.Split(m.Subject, ".") {
					if raw, err := base64.URLEncoding.DecodeString(token); err == nil {
						text += " " + string(raw)
					}
				}
				all, next = append(all, text), m.Sequence+1
			}
		}
	}
	return all
}

// holders are those of the texts that hold what somebody wrote, as it is or in base64.
func holders(all []string, wrote string) (some []string) {
	for _, text := range all {
		if strings.Contains(text, wrote) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(wrote))) {
			some = append(some, text)
		}
	}
	return some
}

// TestNothingIsKeptOfWhoLeft, on servers that answer for one another too: of what they had and wrote nothing is
// stored, others have what they had, and the views are the fold of what there is.
func TestNothingIsKeptOfWhoLeft(t *testing.T) {
	everywhereAndOnACluster(t, func(t *testing.T, open func(*testing.T) place) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		p := open(t)
		operator, _ := as(t, p, "operator", "")
		runs := func(c *api.Client, wrote string) api.Execution {
			files := hello("private")
			files["hermes.config.json"] = strings.Replace(files["hermes.config.json"], `"handler"`, `"args":["`+wrote+`"],"env":{"SAID":"`+wrote+`"},"handler"`, 1)
			files["notes.txt"] = wrote
			deploy(ctx, t, c, files)
			for _, script := range []string{wrote + "\n", "echo " + wrote + "\n", "echo " + wrote + "; exit 3\n"} {
				id := api.NewID()
				ask := api.Run{ID: id, Function: events.FunctionRef{Name: "hello"}, Input: events.Input{Inline: []byte(script)}}
				if _, err := api.Call[api.Accepted](ctx, c, api.OpRun, ask); err != nil {
					t.Fatal(err)
				}
				wait(ctx, t, c, id)
			}
			id := api.NewID()
			ask := api.Run{ID: id, Function: events.FunctionRef{Name: "hello"}, Input: events.Input{Inline: []byte("echo " + wrote + "; sleep 60\n")}}
			if _, err := api.Call[api.Accepted](ctx, c, api.OpRun, ask); err != nil {
				t.Fatal(err)
			}
			last, err := api.Call[api.Execution](ctx, c, api.OpExecutionInspect, api.ExecutionRef{ID: id})
			if err != nil {
				t.Fatal(err)
			}
			return last
		}
		const hers, his = "marked-by-eve", "marked-by-bob"
		bob, eve := registered(t, p, "bob").connect(t, p, "bob"), registered(t, p, "eve").connect(t, p, "eve")
		bobs := runs(bob.Client, his)
		evesLast := runs(eve.Client, hers)
		_, err := api.Call[api.Execution](ctx, eve.Client, api.OpExecutionCancel, api.ExecutionRef{ID: evesLast.ID})
		if err != nil {
			t.Fatal(err)
		}
		wait(ctx, t, eve.Client, evesLast.ID)
		seen := func() string {
			list, err := api.Call[api.Executions](ctx, eve.Client, api.OpExecutionList, api.ExecutionList{})
			history, historyErr := api.Call[api.History](ctx, eve.Client, api.OpExecutionHistory, api.ExecutionRef{ID: evesLast.ID})
			raw, jsonErr := json.Marshal([]any{list, history})
			if err := errors.Join(err, historyErr, jsonErr); err != nil {
				t.Fatal(err)
			}
			return string(raw)
		}
		before, hadHers := seen(), len(holders(everything(ctx, t, operator), hers))
		if n := len(holders(everything(ctx, t, operator), his)); n < 10 || hadHers < 10 {
			t.Fatalf("%d and %d messages hold what they wrote", n, hadHers)
		}
		if _, err := admin[api.Unregistered](t, p, api.OpUserRemove, api.UserRef{User: "bob"}); err != nil {
			t.Fatal(err)
		}
		var left []string
		eventually(t, "nothing of who left is stored", func() bool {
			left = holders(everything(ctx, t, operator), his)
			return len(left) == 0
		})
		verified(ctx, t, operator)
		if after := seen(); after != before {
			t.Errorf("another sees\n%s\nand saw\n%s", after, before)
		}
		if n := len(holders(everything(ctx, t, operator), hers)); n != hadHers {
			t.Errorf("%d messages hold what another wrote, and %d did", n, hadHers)
		}
		_, err = api.Ask[api.Execution](ctx, operator, api.Subject("bob", api.OpExecutionInspect), api.ExecutionRef{ID: bobs.ID})
		wantError(t, "to inspect what somebody who left ran", err, api.NoSuchRun)
		_, err = newIdentity(t).ask(t, p, api.OpRegister, api.Register{Login: api.Login{User: "bob", Password: password}})
		wantError(t, "to take the name again", err, api.UserAlreadyExists)
		evesNext := runAs(t, eve.Client, "eve")
		if evesNext.ExitCode != 0 {
			t.Errorf("another's next run ends with %d", evesNext.ExitCode)
		}
		verified(ctx, t, operator)
	})
}

// TestARestoredInstanceForgetsWhoHadLeft: a copy may have what was removed while it was made, or what an earlier
// version's streams denied to be removed.
func TestARestoredInstanceForgetsWhoHadLeft(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	open := func(o *instance.Options) {
		o.Accounts = instance.AccountOptions{Registration: api.RegistrationOpen, PasswordCost: cheap}
	}
	in := startWith(t, dir, open)
	operator := operate(t, dir, in)
	js, err := jetstream.New(operator)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{streams.Executions, streams.History} {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		config := stream.CachedInfo().Config
		config.DenyDelete, config.DenyPurge = true, true
		if _, err := js.UpdateStream(ctx, config); err != nil {
			t.Fatal(err)
		}
	}
	p := placeOf(dir, in)
	bob := registered(t, p, "bob").connect(t, p, "bob")
	deploy(ctx, t, bob.Client, hello("private"))
	const his = "marked-by-bob"
	runAs(t, bob.Client, his)
	if _, err := admin[api.Unregistered](t, p, api.OpUserRemove, api.UserRef{User: "bob"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what may go has gone", func() bool {
		_, err := get.LeaderLast(ctx, js, streams.Functions, events.FunctionSubject("bob", "hello"))
		return errors.Is(err, get.ErrNone)
	})
	if n := len(holders(everything(ctx, t, operator), "echo "+his+"\n")); n == 0 {
		t.Error("what may not go has gone")
	}
	verified(ctx, t, operator)
	from := makeBackup(ctx, t, dir, in)
	if err := in.Stop(); err != nil {
		t.Fatal(err)
	}
	scratch := t.TempDir()
	if err := restore(t, from, scratch, false); err != nil {
		t.Fatal(err)
	}
	again := startWith(t, scratch, open)
	defer func() {
		if err := again.Stop(); err != nil {
			t.Error(err)
		}
	}()
	operator = operate(t, scratch, again)
	if some := holders(everything(ctx, t, operator), "echo "+his+"\n"); len(some) != 0 {
		t.Errorf("this is stored: %q", some)
	}
	verified(ctx, t, operator)
}
