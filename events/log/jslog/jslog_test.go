package jslog_test

import (
	"context"
	"iter"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/log/logtest"
	"github.com/hermes-serverless/hermes/events/natstest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestConformance(t *testing.T) {
	logtest.Run(t, func(t *testing.T) logtest.Subject {
		dir, port := t.TempDir(), freePort(t, natstest.Host())
		s := natstest.Start(t, dir, port)
		js := connect(t, s.ClientURL())
		subject := newSubject(t, js, 1)
		subject.Disturb = func(t *testing.T) {
			stop(s)
			s = natstest.Start(t, dir, port)
			flush(t, js)
		}
		return subject
	})
}

func TestConformanceReplicated(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	servers := cluster(t)
	logtest.Run(t, func(t *testing.T) logtest.Subject {
		js := connect(t, servers[0].ClientURL())
		subject := newSubject(t, js, 3)
		subject.Disturb = func(t *testing.T) {
			if err := js.Conn().ForceReconnect(); err != nil {
				t.Fatal(err)
			}
			flush(t, js)
		}
		return subject
	})
}

// TestNoStream: a stream that is not there is an error that names it, not an empty log.
func TestNoStream(t *testing.T) {
	js := natstest.Connect(t)
	l := jslog.New(js, "NONE")
	for name, read := range map[string]iter.Seq2[events.Record, error]{
		"read": l.Read(t.Context(), "hermes.a", 0), "read all": l.Read(t.Context(), ">", 0), "follow": l.Follow(t.Context(), ">", 0),
	} {
		n := 0
		for _, err := range read {
			if n++; err == nil || !strings.Contains(err.Error(), "NONE") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n != 1 {
			t.Errorf("%s yields %d times, want one error", name, n)
		}
	}
	event := events.Event{ID: "x", Source: "test", Data: events.WatcherLeft{}}
	if _, err := l.Append(t.Context(), "hermes.a", 0, event); err == nil || !strings.Contains(err.Error(), "NONE") {
		t.Errorf("append: %v", err)
	}
}

// newSubject makes a stream, and removes it at the end of the test so that the next one starts
// empty; its name is the test's own, because a name that is made anew at once can start past 1.
func newSubject(t *testing.T, js jetstream.JetStream, replicas int) logtest.Subject {
	t.Helper()
	name := "LOG_" + nats.NewInbox()[len("_INBOX."):]
	eventually(t, "the stream is made", func(ctx context.Context) bool {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: name, Subjects: []string{"hermes.>"}, Replicas: replicas, AllowDirect: true,
		})
		return err == nil
	})
	admin := connect(t, js.Conn().ConnectedUrl())
	t.Cleanup(func() {
		if err := admin.DeleteStream(context.WithoutCancel(t.Context()), name); err != nil && replicas > 1 {
			t.Error(err)
		}
	})
	return logtest.Subject{
		Log: jslog.New(js, name),
		Inject: func(t *testing.T, subject string, m events.Message) {
			msg := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: m.Data}
			for key, value := range m.Header {
				msg.Header.Set(key, value)
			}
			if _, err := js.PublishMsg(t.Context(), msg); err != nil {
				t.Fatal(err)
			}
		},
		Close: js.Conn().Close,
	}
}

// flush returns when the connection works.
func flush(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	eventually(t, "the connection stands", func(context.Context) bool { return js.Conn().Flush() == nil })
}
