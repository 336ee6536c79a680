package watcher

import (
	"testing"

	"github.com/hermes-serverless/hermes/events/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
