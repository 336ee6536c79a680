package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// TestHistoryIsLegal: what is published decodes and folds to executions that have ended, each user's
// in turn, and every look finds something.
func TestHistoryIsLegal(t *testing.T) {
	const n, users = 3000, 3
	g := newGenerator(options{executions: n, users: users, seed: 7}, time.Now())
	var all []executions.Execution
	ids := map[string]bool{}
	for sequence := uint64(0); len(all) < n; {
		var e executions.Execution
		for _, r := range g.next() {
			msg, err := r.message()
			if err != nil {
				t.Fatal(err)
			}
			m := events.Message{Header: map[string]string{}, Data: msg.Data}
			for key := range msg.Header {
				m.Header[key] = msg.Header.Get(key)
			}
			sequence++
			record, err := log.Decode(msg.Subject, sequence, m)
			if err != nil {
				t.Fatal(err)
			}
			if ids[record.ID] {
				t.Fatalf("id %s twice", record.ID)
			}
			ids[record.ID] = true
			if e, err = executions.Fold(e, record); err != nil {
				t.Fatal(err)
			}
		}
		if e.Owner != userName(len(all)%users) || !e.Status.Final() || e.RequestedAt.After(time.Now()) {
			t.Fatalf("execution %d: %+v", len(all), e)
		}
		all = append(all, e)
	}
	failed, rare := 0, 0
	for _, e := range all {
		if e.Status == executions.Error {
			failed++
		}
		if e.Request.Function.Name == rareFunction {
			rare++
		}
	}
	if failed < n/200 || failed > n/50 || rare != users {
		t.Errorf("%d of %d failed, %d are of the rare function", failed, n, rare)
	}
}

func TestParse(t *testing.T) {
	for _, args := range [][]string{
		{"--executions", "100", "--users", "2"}, {"--users", "0"}, {"--rounds", "0"}, {"more"}, {"--executions", "x"},
	} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
	o, err := parse([]string{"--executions", "5000", "--users", "50"})
	if err != nil || o.executions != 5000 || o.users != 50 || o.rate != 5000 {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestReportJudges(t *testing.T) {
	r := newReport(options{executions: 10, users: 1, rate: 100})
	for range 9 {
		r.look(lookNumber, 10*time.Millisecond)
		r.look(lookList, 51*time.Millisecond)
	}
	r.look(lookNumber, time.Second)
	r.addLooks()
	r.started(time.Second, 6*time.Second)
	r.rate(rateRebuild, 1000, 10*time.Millisecond, 0)
	r.live(syncLater, 1000, 10*time.Second, []uint64{0, 5, 1000}, nil, nil)
	r.live(syncLater, 500, 10*time.Second, []uint64{0, 0, 0}, nil, nil)
	r.live(syncLater, 1000, 10*time.Second, []uint64{0, 101, 1000}, nil, nil)
	var verdicts []string
	for _, row := range r.Rows {
		if !strings.Contains(row.Figure, "meanwhile") {
			verdicts = append(verdicts, row.Verdict)
		}
	}
	if got, want := strings.Join(verdicts, " "), "missed met missed met met missed missed"; got != want {
		t.Errorf("verdicts %s, want %s: %+v", got, want, r.Rows)
	}
	var out bytes.Buffer
	r.print(&out)
	if !strings.Contains(out.String(), "p50 10.0 ms, p99 1000.0 ms") {
		t.Error(out.String())
	}
}
