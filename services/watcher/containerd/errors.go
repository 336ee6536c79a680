package containerd

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// unavailable wraps an error of containerd: what does not answer in time is ErrUnavailable, what
// answers with a refusal is that refusal.
func unavailable(what string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if retryable(err) {
		return fmt.Errorf("%s: %w: %w", what, sandbox.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// retryable: nothing says that the same call would fail again.
func retryable(err error) bool {
	native := errgrpc.ToNative(err)
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errInitSilent) ||
		errdefs.IsUnavailable(err) || errdefs.IsUnavailable(native) || errdefs.IsDeadlineExceeded(native)
}
