package instance

import (
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/quotas"
)

func TestPolicy(t *testing.T) {
	base, err := Limits{}.policy()
	if err != nil || base != defaultPolicy() {
		t.Fatalf("%+v, %v", base, err)
	}
	got, err := Limits{
		Max:     events.Limits{MemoryBytes: 512 * mib, TimeoutMillis: 1000, OutputBytes: gib},
		Default: events.Limits{OutputBytes: 200 * mib, TimeoutMillis: 1000},
		Build:   events.Limits{MemoryBytes: 9 * gib}, MaxInputBytes: 7, MaxBundleBytes: 8,
	}.policy()
	want := base
	want.Maxima.MemoryBytes, want.Maxima.TimeoutMillis, want.Maxima.OutputBytes = 512*mib, 1000, gib
	want.Defaults.MemoryBytes = 512 * mib // goes down with its maximum
	want.Defaults.OutputBytes, want.Defaults.TimeoutMillis = 200*mib, 1000
	want.Build.MemoryBytes, want.MaxInputBytes, want.MaxBundleBytes = 9*gib, 7, 8
	if err != nil || got != want {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	_, err = Limits{Default: events.Limits{OutputBytes: 200 * mib}}.policy()
	if err == nil || !strings.Contains(err.Error(), "--default output=200MiB is more than functions may ask for: raise --max output, which is 100MiB") {
		t.Errorf("a default above its maximum: %v", err)
	}
}

func TestMIGUsers(t *testing.T) {
	if p, err := (Limits{MIG: "many"}).policy(); err != nil || p.MIG != "many" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := (Limits{MIG: "all"}).policy(); err == nil || !strings.Contains(err.Error(), "must be one or many") {
		t.Errorf("all: %v", err)
	}
}

func TestDefaultQuota(t *testing.T) {
	if got := (Limits{}).quota(); got != defaultQuota {
		t.Errorf("%v", got)
	}
	got := Limits{Quota: events.UserQuotaSet{GPUs: 2, QueuedExecutions: events.QuotaUnbounded, StoredBytes: events.QuotaNothing}}.quota()
	if want := (quotas.Limits{quotas.GPUs: 2, quotas.Rate: defaultQuota[quotas.Rate], quotas.Stored: quotas.Nothing}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}
