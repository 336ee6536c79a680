package accounts

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hermes-serverless/hermes/services/api"
)

var cheap = Cost{MemoryKiB: 64, Passes: 1, Lanes: 1}

func TestHash(t *testing.T) {
	h := newHasher(cheap)
	hash, err := h.hash(t.Context(), "sesame street")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=64,t=1,p=1$") || strings.Contains(hash, "sesame") {
		t.Fatalf("%q, %v", hash, err)
	}
	if again, _ := h.hash(t.Context(), "sesame street"); again == hash {
		t.Error("two hashes of one password are the same")
	}
	for password, want := range map[string]bool{"sesame street": true, "sesame streeT": false, "": false} {
		if got, err := h.matches(t.Context(), hash, password); got != want || err != nil {
			t.Errorf("%q matches: %v, %v", password, got, err)
		}
		if got, err := h.matches(t.Context(), "", password); got || err != nil {
			t.Errorf("%q matches nobody's: %v, %v", password, got, err)
		}
	}
	for _, damaged := range []string{"x", "$argon2id$v=19$m=64,t=0,p=1$c2FsdA$c2FsdA", "$argon2i$v=19$m=64,t=1,p=1$c2FsdA$c2FsdA", strings.Replace(hash, "m=64", "m=99999999", 1)} {
		if got, err := h.matches(t.Context(), damaged, "sesame street"); got || err == nil {
			t.Errorf("%q: %v, %v", damaged, got, err)
		}
	}
}

// TestUnknownUserCostsAsMuch: the dummy's parameters are those of a new hash.
func TestUnknownUserCostsAsMuch(t *testing.T) {
	h := newHasher(Cost{})
	cost, salt, sum, err := decode(h.dummy)
	if err != nil || cost != recommended || len(salt) != saltBytes || len(sum) != hashBytes {
		t.Errorf("%+v, %d, %d, %v", cost, len(salt), len(sum), err)
	}
}

// TestHashingIsBounded: no more than a few at once, and no endless line before them.
func TestHashingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(cheap)
		if err := h.running.Acquire(t.Context(), maxHashing); err != nil {
			t.Fatal(err)
		}
		waiting, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		for range maxHashing + maxWaiting {
			go func() { _, err := h.hash(waiting, "sesame street"); ended <- err }()
		}
		synctest.Wait() // until all stand in line
		if _, err := h.hash(t.Context(), "sesame street"); !api.IsKind(err, api.Unavailable) {
			t.Errorf("one too many: %v", err)
		}
		cancel()
		for range maxHashing + maxWaiting {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("one of those in line: %v", err)
			}
		}
	})
}
