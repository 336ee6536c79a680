package accounts

import (
	"fmt"
	"testing"
	"time"
)

func TestThrottle(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newThrottle(bucket{size: 3, refill: 10 * time.Second})
	for i := range 3 {
		if wait := b.take("ana", now); wait != 0 {
			t.Fatalf("attempt %d has to wait %s", i, wait)
		}
	}
	if wait := b.take("ana", now.Add(4*time.Second)); wait != 6*time.Second {
		t.Errorf("has to wait %s, want 6s", wait)
	}
	if b.take("bob", now) != 0 {
		t.Error("somebody else has to wait")
	}
	if b.take("ana", now.Add(10*time.Second)) != 0 {
		t.Error("has to wait behind the refill")
	}
	b.giveBack("ana", now.Add(10*time.Second))
	if b.take("ana", now.Add(10*time.Second)) != 0 {
		t.Error("a success was not given back")
	}
}

// TestThrottleIsBounded: names are attackers' choice, and who failed is not forgotten for them.
func TestThrottleIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newThrottle(bucket{size: 3, refill: time.Hour})
	for b.take("ana", now) == 0 {
	}
	for i := range 3 * maxThrottled {
		b.take(fmt.Sprint("x", i), now)
	}
	if len(b.left) > maxThrottled {
		t.Errorf("%d names are kept", len(b.left))
	}
	if b.take("ana", now) == 0 {
		t.Error("who used up all attempts was forgotten")
	}
}
