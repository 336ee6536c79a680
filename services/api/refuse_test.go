package api

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events/natstest"
)

// refusing is a server that refuses all, and a subscription to what it answers. eve has asked beyond all
// measure.
func refusing(t *testing.T) (s *Server, ask func(user string), answers *nats.Subscription) {
	t.Helper()
	nc := natstest.Connect(t).Conn()
	s, err := NewServer(nc, "test", "1.2.3", "a test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.pace = newPace(time.Millisecond)
	s.pace.charge("ana", 0, time.Now())
	s.pace.charge("eve", time.Hour, time.Now())
	s.Limit(func(user string) error { return Errorf(LimitReached, TooManyRequests, "%s asks too much", user) })
	err = HandleUser(s, OpInfo, func(context.Context, string, InfoRequest) (Info, error) {
		t.Error("it was answered")
		return Info{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	if answers, err = nc.SubscribeSync("answers.*"); err != nil {
		t.Fatal(err)
	}
	ask = func(user string) {
		t.Helper()
		if err := nc.PublishRequest(Subject(user, OpInfo), "answers."+user, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	return s, ask, answers
}

func next(t *testing.T, answers *nats.Subscription) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := answers.NextMsgWithContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return m.Subject
}

// TestWhoAsksBeyondMeasureIsRefusedLater: an answer at once would be asked for again at once.
func TestWhoAsksBeyondMeasureIsRefusedLater(t *testing.T) {
	_, ask, answers := refusing(t)
	ask("eve")
	ask("ana")
	if first := next(t, answers); first != "answers.ana" {
		t.Errorf("the first answer is to %s", first)
	}
	if second := next(t, answers); second != "answers.eve" {
		t.Errorf("the second answer is to %s", second)
	}
}

// TestRefusalsAreNotGathered without end: who asks still more hears nothing.
func TestRefusalsAreNotGathered(t *testing.T) {
	s, ask, answers := refusing(t)
	for range maxLate + 100 {
		ask("eve")
	}
	ask("ana")
	for next(t, answers) != "answers.ana" {
	}
	if n := s.late.Load(); n > maxLate {
		t.Errorf("%d refusals are remembered", n)
	}
}

// TestRefusalsThatNobodyHearsAreNotGathered: they would take the places of those that somebody waits for.
func TestRefusalsThatNobodyHearsAreNotGathered(t *testing.T) {
	s, ask, answers := refusing(t)
	for range 100 {
		if err := s.conn.Publish(Subject("eve", OpInfo), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	ask("ana") // when she has her answer, all before has been refused
	next(t, answers)
	if n := s.late.Load(); n != 0 {
		t.Errorf("%d refusals are remembered", n)
	}
}
