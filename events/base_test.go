package events_test

import (
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
)

func TestBaseRef(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	for s, want := range map[string]events.BaseRef{
		"host":            {Name: "host"},
		"gcc@" + digest:   {Name: "gcc", Digest: digest},
		"a_b-1@" + digest: {Name: "a_b-1", Digest: digest},
	} {
		got, err := events.ParseBaseRef(s)
		if err != nil || got != want || got.String() != s || got.IsHost() != (s == "host") {
			t.Errorf("%q is %+v, %v, written %q", s, got, err, got)
		}
	}
	for _, s := range []string{"", "gcc", "@" + digest, "gcc@", "host@" + digest, "gcc@sha256:0a", "gcc@" + digest + "x", "g.c@" + digest, "GCC@" + digest} {
		if got, err := events.ParseBaseRef(s); err == nil || got != (events.BaseRef{}) {
			t.Errorf("%q is %+v, %v", s, got, err)
		}
	}
}

func TestBaseNames(t *testing.T) {
	for _, name := range []string{"gcc", "debian-12", "_x", strings.Repeat("a", events.MaxNameBytes)} {
		if err := events.CheckBaseName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "host", "debian:12", "a.b", "-a", "Gcc", "a@b", strings.Repeat("a", events.MaxNameBytes+1)} {
		if events.CheckBaseName(name) == nil {
			t.Errorf("%q is allowed", name)
		}
	}
}
