package instance

import (
	"cmp"
	"fmt"
	"runtime"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/services/manifest"
	"github.com/hermes-serverless/hermes/services/orchestrator"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// Limits are what an operator says of the limits of executions; a 0 leaves it to defaultPolicy.
type Limits struct {
	// Default is for what a function's config leaves out, Max bounds what it asks for, Build is for
	// every build.
	Default, Max, Build events.Limits
	// MaxInputBytes bounds one run's input, MaxBundleBytes one function's folder, packed.
	MaxInputBytes, MaxBundleBytes int64
	// Quota bounds each user who has none of their own.
	Quota events.UserQuotaSet
	// GPUs is how they are given away: "pack" or "spread".
	GPUs string
	// MIG is how many users may have MIG instances of one card at a time: "one" or "many".
	MIG string
}

// quota is what bounds a user of whom the operator has said nothing.
func (l Limits) quota() quotas.Limits { return quotas.Resolve(l.Quota, defaultQuota) }

// defaultQuota hinders nobody who means well: it keeps one user's mistake from filling the log and the
// machine's time.
var defaultQuota = quotas.Limits{quotas.Queued: 10_000, quotas.Rate: 2_000}

// Check says what is wrong with the limits.
func (l Limits) Check() error {
	_, err := l.policy()
	return err
}

// policy fails when a default is above its maximum. Where the operator has only lowered a maximum,
// the default goes with it.
func (l Limits) policy() (orchestrator.Policy, error) {
	p := defaultPolicy()
	for _, limit := range manifest.Limits() {
		most, def, build := limit.Of(&p.Maxima), limit.Of(&p.Defaults), limit.Of(&p.Build)
		*most = cmp.Or(*limit.Of(&l.Max), *most)
		*build = cmp.Or(*limit.Of(&l.Build), *build)
		if asked := *limit.Of(&l.Default); asked > *most {
			return p, fmt.Errorf("--default %s=%s is more than functions may ask for: raise --max %s, which is %s",
				limit.Name, limit.Text(asked), limit.Name, limit.Text(*most))
		}
		*def = min(cmp.Or(*limit.Of(&l.Default), *def), *most)
	}
	p.MaxInputBytes = cmp.Or(l.MaxInputBytes, p.MaxInputBytes)
	switch p.GPUs = orchestrator.GPUOrder(l.GPUs); p.GPUs {
	case "", orchestrator.Pack, orchestrator.Spread:
	default:
		return p, fmt.Errorf("--gpu-order %q: must be pack or spread", l.GPUs)
	}
	switch p.MIG = orchestrator.MIGUsers(l.MIG); p.MIG {
	case "", orchestrator.OneUser, orchestrator.ManyUsers:
	default:
		return p, fmt.Errorf("--mig-users %q: must be one or many", l.MIG)
	}
	p.MaxBundleBytes = cmp.Or(l.MaxBundleBytes, p.MaxBundleBytes)
	return p, nil
}

// defaultPolicy is what an operator gets who says nothing. What output and input are by default are
// the first Hermes'.
func defaultPolicy() orchestrator.Policy {
	cores := int64(runtime.NumCPU()) * 1000
	return orchestrator.Policy{
		Defaults: events.Limits{
			TimeoutMillis: time.Hour.Milliseconds(), MemoryBytes: gib, CPUMillis: cores,
			PIDs: 256, TmpBytes: 256 * mib, OutputBytes: 10 * mib, ResultsBytes: 64 * mib,
		},
		Maxima: events.Limits{
			TimeoutMillis: (7 * 24 * time.Hour).Milliseconds(), MemoryBytes: 1 << 40, CPUMillis: cores,
			PIDs: 4096, TmpBytes: 16 * gib, OutputBytes: 100 * mib, ResultsBytes: gib,
		},
		Build: events.Limits{
			TimeoutMillis: (5 * time.Minute).Milliseconds(), MemoryBytes: 4 * gib, CPUMillis: cores,
			PIDs: 512, TmpBytes: 512 * mib, OutputBytes: 10 * mib,
		},
		MaxInputBytes: 100 * mib, MaxBundleBytes: 256 * mib,
	}
}
