package main

import (
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/quotas"
)

// TestParseQuota: nothing is nothing however it is written, and what is no number is no bound.
func TestParseQuota(t *testing.T) {
	const bad = -77
	for _, c := range []struct {
		figure quotas.Figure
		text   string
		want   int64
	}{
		{quotas.GPUs, "2", 2}, {quotas.GPUs, "0", events.QuotaNothing}, {quotas.GPUs, "00", events.QuotaNothing}, {quotas.GPUs, "-0", events.QuotaNothing},
		{quotas.GPUs, "-1", bad}, {quotas.GPUs, "1.5", bad}, {quotas.GPUs, "unlimited", events.QuotaUnbounded},
		{quotas.CPU, "0.5", 500}, {quotas.CPU, "0", events.QuotaNothing}, {quotas.CPU, "NaN", bad}, {quotas.CPU, "Inf", bad}, {quotas.CPU, "0.0001", bad},
		{quotas.Memory, "64GiB", 64 << 30}, {quotas.Memory, "0", events.QuotaNothing}, {quotas.Memory, "0GiB", bad}, {quotas.Memory, "lots", bad},
	} {
		n, err := parseQuota(c.figure, c.text)
		if c.want == bad && err == nil || c.want != bad && (err != nil || n != c.want) {
			t.Errorf("%s of %q: %d, %v", c.figure, c.text, n, err)
		}
	}
}
