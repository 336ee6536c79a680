package metrics

import "testing"

func TestAddress(t *testing.T) {
	for flag, want := range map[string]struct {
		address string
		exposed bool
	}{
		"127.0.0.1:9464": {"127.0.0.1:9464", false}, ":9464": {"127.0.0.1:9464", false}, "localhost:1": {"localhost:1", false},
		"[::1]:9464": {"[::1]:9464", false}, "0.0.0.0:9464": {"0.0.0.0:9464", true}, "10.0.0.1:1": {"10.0.0.1:1", true},
		"gpu1:9464": {"gpu1:9464", true}, "[::]:1": {"[::]:1", true},
	} {
		if address, exposed, err := Address(flag); err != nil || address != want.address || exposed != want.exposed {
			t.Errorf("%s: %s, exposed %t, %v", flag, address, exposed, err)
		}
	}
	for _, flag := range []string{"9464", "127.0.0.1", "127.0.0.1:", "::1:9"} {
		if address, _, err := Address(flag); err == nil {
			t.Errorf("%s: %s", flag, address)
		}
	}
}
