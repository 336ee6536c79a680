package memlog_test

import (
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/events/log/logtest"
	"github.com/hermes-serverless/hermes/events/log/memlog"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestConformance(t *testing.T) {
	logtest.Run(t, func(*testing.T) logtest.Subject {
		l := memlog.New()
		return logtest.Subject{
			Log:    l,
			Inject: func(_ *testing.T, subject string, m events.Message) { l.Inject(subject, m) },
			Close:  l.Close,
		}
	})
}
