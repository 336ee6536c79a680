package instance

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// TestWhatTheServerSaysOfClientsIsBounded, and nothing else of what it says.
func TestWhatTheServerSaysOfClientsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := newNATSLogger(slog.New(slog.NewTextHandler(&log, nil)))
		lines := func(text string) int { return strings.Count(log.String(), text) }
		for range 10_000 {
			l.Errorf("127.0.0.1:4711 - cid:12 - %s", "Publish Violation")
			l.Noticef("127.0.0.1:4711 - cid:12 - not for this level")
			l.Warnf("Auth callout service returned an error: not admitted")
		}
		if n := lines("Violation") + lines("not admitted"); n != clientLines {
			t.Errorf("%d lines of a client", n)
		}
		for range 1000 {
			l.Warnf("the disk is full")
		}
		if n := lines("the disk is full"); n != 1000 {
			t.Errorf("%d lines of the server", n)
		}
		time.Sleep(time.Second)
		l.Errorf("127.0.0.1:4711 - cid:12 - %s", "another time")
		if lines("another time") != 1 || lines("messages=19980") != 1 {
			t.Errorf("in the end: %s", log.String()[max(0, log.Len()-500):])
		}
		l.clients.SetLimit(rate.Inf)
		for range 1000 {
			l.Errorf("127.0.0.1:4711 - cid:12 - %s", "without the limit")
		}
		if n := lines("without the limit"); n != 1000 {
			t.Errorf("without the limit only %d lines: the test proves nothing", n)
		}
	})
}

// TestConnectionsLeaveFilesOver: however many the configuration allows.
func TestConnectionsLeaveFilesOver(t *testing.T) {
	few, err := maxConnections(100)
	if err != nil || few != 100 {
		t.Errorf("%d, %v", few, err)
	}
	many, err := maxConnections(1 << 40)
	if err != nil || many >= 1<<30 || many < 500 {
		t.Errorf("%d, %v", many, err)
	}
}
