package fake_test

import (
	"testing"

	"github.com/hermes-serverless/hermes/services/watcher/gpu/fake"
	"github.com/hermes-serverless/hermes/services/watcher/gpu/gputest"
)

func TestConformance(t *testing.T) {
	whole, split := fake.Whole(1, "H100", 80<<30), fake.Whole(2, "A100", 40<<30)
	inventory := fake.New(whole, fake.MIG(split, 1, "1g.5gb", 5<<30), fake.MIG(split, 2, "1g.5gb", 5<<30))
	defer inventory.Close() //nolint:errcheck // it has nothing to let go of
	gputest.Run(t, inventory, gputest.Options{})
}
