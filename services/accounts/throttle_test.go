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

// TestAttempts: an address is bounded for all names. Those who are logged in, whose requests tell no
// address, are bounded each for themselves.
func TestAttempts(t *testing.T) {
	for host, want := range map[string]int{"192.0.2.1": int(perAddress.size), "": 5 * int(perAddress.size)} {
		s := New(Options{Now: func() time.Time { return at }})
		let := 0
		for i := range 5 * int(perAddress.size) {
			if s.takeAttempt(fmt.Sprint("user", i), host) == nil {
				let++
			}
		}
		if let != want {
			t.Errorf("from %q: %d attempts, want %d", host, let, want)
		}
		for i := range int(perUser.size) + 1 {
			if err := s.takeAttempt("ana", host); (err == nil) != (host == "" && i < int(perUser.size)) {
				t.Errorf("attempt %d of ana from %q: %v", i, host, err)
			}
		}
	}
}
