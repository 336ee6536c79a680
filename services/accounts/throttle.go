package accounts

import (
	"net/netip"
	"sync"
	"time"
)

// bucket is how much somebody may fail: so many times at once, and one more each refill.
type bucket struct {
	size   float64
	refill time.Duration
}

// Failures that are forgiven: of one user from anywhere, and of one address for any user. Who knows
// the password waits too when somebody else has used them up: else it would not be a bound.
var (
	perUser    = bucket{size: 10, refill: 30 * time.Second}
	perAddress = bucket{size: 20, refill: 10 * time.Second}
)

// maxThrottled bounds the memory for names and addresses, which attackers choose.
const maxThrottled = 100_000

// networkOf is what an address is counted as: itself, or of IPv6 its /64, all of whose addresses are mostly
// one customer's. What is no address is counted as it is.
func networkOf(host string) string {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if addr = addr.Unmap().WithZone(""); addr.Is4() {
		return addr.String()
	}
	return netip.PrefixFrom(addr, 64).Masked().String()
}

// throttle counts failures by name. An attempt is taken before it is known how it ends, so that many
// at once count as many; a success gives it back.
type throttle struct {
	bucket
	mu   sync.Mutex
	left map[string]level
}

type level struct {
	tokens float64
	at     time.Time
}

func newThrottle(b bucket) *throttle { return &throttle{bucket: b, left: map[string]level{}} }

// take uses up an attempt, or says how long to wait for the next.
func (t *throttle) take(name string, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tokens := t.now(name, now)
	if tokens < 1 {
		return time.Duration((1 - tokens) * float64(t.refill))
	}
	if len(t.left) >= maxThrottled {
		t.forget(now)
	}
	t.left[name] = level{tokens - 1, now}
	return 0
}

// giveBack undoes a take.
func (t *throttle) giveBack(name string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tokens := t.now(name, now) + 1; tokens < t.size {
		t.left[name] = level{tokens, now}
	} else {
		delete(t.left, name)
	}
}

// forgive forgets what somebody failed.
func (t *throttle) forgive(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.left, name)
}

func (t *throttle) now(name string, now time.Time) float64 {
	l, known := t.left[name]
	if !known {
		return t.size
	}
	return min(t.size, l.tokens+float64(now.Sub(l.at))/float64(t.refill))
}

// forget drops those that are full again; if that is nobody, the fullest half: who has just failed
// stays bounded.
func (t *throttle) forget(now time.Time) {
	for level := t.size; len(t.left) > maxThrottled/2 && level > 0; level-- {
		for name := range t.left {
			if t.now(name, now) >= level {
				delete(t.left, name)
			}
		}
	}
}
