package network

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	reach := Reach{Refuse: Refused(), Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/64")}}
	for address, reached := range map[string]bool{
		"1.1.1.1": true, "203.0.113.2": true, "2606:4700::1111": true, "2001:db8::1": true, "::ffff:1.1.1.1": true,
		"9.255.255.255": true, "11.0.0.0": true, "172.15.255.255": true, "172.32.0.0": true, "100.63.255.255": true, "100.128.0.0": true,
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "fd00:1::7": true,

		"0.0.0.0": false, "0.1.2.3": false, "127.0.0.1": false, "127.255.255.254": false, "10.0.0.1": false, "10.2.0.0": false,
		"172.16.0.0": false, "172.31.255.255": false, "192.168.0.1": false, "100.64.0.0": false, "100.100.100.200": false,
		"169.254.169.254": false, "168.63.129.16": false, "192.0.2.2": false, "192.0.2.53": false, "192.0.0.192": false,
		"198.18.0.1": false, "224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::127.0.0.1": false, "::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false,
		"64:ff9b::7f00:1": false, "64:ff9b:1::a00:1": false, "2002:7f00:1::1": false, "2001:0:1::1": false,
		"fc00::1": false, "fd00:ec2::254": false, "fd00:2::7": false, "fe80::1": false, "fec0::1": false, "ff02::1": false, "4000::1": false,
		"fe80::1%eth0": false, "2606:4700::1111%eth0": false,
	} {
		if err := reach.Check(netip.MustParseAddr(address)); (err == nil) != reached || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want it reached: %v", address, err, reached)
		}
	}
	if err := reach.Check(netip.Addr{}); !errors.Is(err, ErrRefused) {
		t.Errorf("no address: %v", err)
	}
}

func TestResolver(t *testing.T) {
	reach := Reach{Resolvers: []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("10.0.0.2")}}
	for to, want := range map[string]string{
		"192.0.2.53:53": "127.0.0.53:53", "192.0.2.54:53": "10.0.0.2:53", "192.0.2.55:53": "127.0.0.53:53",
		"192.0.2.53:4222": "", "192.0.2.52:53": "", "192.0.2.56:53": "", "127.0.0.53:53": "", "1.1.1.1:53": "",
	} {
		got, ok := reach.Resolver(netip.MustParseAddrPort(to))
		if ok != (want != "") || ok && got != netip.MustParseAddrPort(want) {
			t.Errorf("%s: %s, %v, want %q", to, got, ok, want)
		}
	}
	if _, ok := (Reach{}).Resolver(netip.MustParseAddrPort("192.0.2.53:53")); ok {
		t.Error("a machine without DNS has a resolver")
	}
}

func TestReadResolvers(t *testing.T) {
	got, err := ReadResolvers(strings.NewReader("# nameserver 1.2.3.4\nsearch example\nnameserver 127.0.0.53\n nameserver\tfe80::1%eth0 # x\nnameserver x\nnameserver\n"))
	want := []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("fe80::1%eth0")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if got := ResolvConf(); got != "nameserver 192.0.2.53\nnameserver 192.0.2.54\nnameserver 192.0.2.55\n" {
		t.Errorf("%q", got)
	}
}

func TestParseAllowed(t *testing.T) {
	got, err := ParseAllowed([]string{"10.1.0.0/16", "10.2.3.4", "fd00::/8"})
	want := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.3.4/32"), netip.MustParsePrefix("fd00::/8")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for _, wrong := range []string{"", "10.1.0.0/33", "10.1.2.3/16", "host", "::ffff:10.0.0.0/112", "fe80::1%eth0"} {
		if got, err := ParseAllowed([]string{wrong}); err == nil {
			t.Errorf("%q is read as %v", wrong, got)
		} else if !strings.Contains(err.Error(), "10.1.0.0/16") {
			t.Errorf("%q: the error shows no example: %v", wrong, err)
		}
	}
}
