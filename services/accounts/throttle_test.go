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

func TestNetworkOf(t *testing.T) {
	for host, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"2001:db8:1:2::7": "2001:db8:1:2::/64", "2001:db8:1:3::7": "2001:db8:1:3::/64", "fe80::1%eth0": "fe80::/64", "::1": "::/64",
		"": "", "gpu1": "gpu1",
	} {
		if got := networkOf(host); got != want {
			t.Errorf("%q is counted as %q, want %q", host, got, want)
		}
	}
}

// TestAttemptsOfANetwork: who has a network of their own is bounded for all of its addresses, in attempts and
// in connections.
func TestAttemptsOfANetwork(t *testing.T) {
	s := New(Options{Now: func() time.Time { return at }})
	let := 0
	for i := range 5 * int(perAddress.size) {
		if s.takeAttempt(fmt.Sprint("user", i), fmt.Sprintf("2001:db8::%x", i)) == nil {
			let++
		}
	}
	if let != int(perAddress.size) {
		t.Errorf("%d attempts, want %d", let, int(perAddress.size))
	}
	if err := s.takeAttempt("bob", "2001:db8:0:1::1"); err != nil {
		t.Errorf("from another network: %v", err)
	}
	guest := func(host string) string { return connection{account: guestAccount, host: host}.label() }
	if guest("2001:db8::1") != guest("2001:db8::2") || guest("2001:db8::1") == guest("2001:db8:0:1::1") {
		t.Error("guests are not counted by network")
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
