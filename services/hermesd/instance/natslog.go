package instance

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"golang.org/x/time/rate"
)

const (
	// ofClient stands in what the server says of one client's connection, ofCallout in what it says of one that
	// was not let in.
	ofClient, ofCallout = " - cid:", "Auth callout service"
	// clientLines is how many of these are logged at once, clientLinesSecond how many in a second: whoever
	// reaches the server causes as many as they like.
	clientLines, clientLinesSecond = 20, 1
)

// natsLogger passes on what an operator must know.
type natsLogger struct {
	log     *slog.Logger
	clients *rate.Limiter
	// left is how many lines were left out since the last one.
	left *atomic.Int64
}

func newNATSLogger(log *slog.Logger) natsLogger {
	return natsLogger{log: log, clients: rate.NewLimiter(clientLinesSecond, clientLines), left: new(atomic.Int64)}
}

func (l natsLogger) say(level slog.Level, format string, v []any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	text := fmt.Sprintf(format, v...)
	if !strings.Contains(text, ofClient) && !strings.HasPrefix(text, ofCallout) {
		l.log.Log(context.Background(), level, text)
		return
	}
	if !l.clients.Allow() {
		l.left.Add(1)
		return
	}
	if n := l.left.Swap(0); n > 0 {
		l.log.Warn("what the server said of other connections was left out", "messages", n)
	}
	l.log.Log(context.Background(), level, text)
}

// Noticef implements server.Logger, as do the others.
func (l natsLogger) Noticef(format string, v ...any) { l.say(slog.LevelDebug, format, v) }
func (l natsLogger) Warnf(format string, v ...any)   { l.say(slog.LevelWarn, format, v) }
func (l natsLogger) Errorf(format string, v ...any)  { l.say(slog.LevelError, format, v) }
func (l natsLogger) Fatalf(format string, v ...any)  { l.say(slog.LevelError, format, v) }
func (l natsLogger) Debugf(string, ...any)           {}
func (l natsLogger) Tracef(string, ...any)           {}
