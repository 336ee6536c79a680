package manifest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
)

func TestGPU(t *testing.T) {
	for line, want := range map[string]*events.GPURequest{
		`"pids": 9`:           nil,
		`"gpu": {}`:           {Count: 1},
		`"gpu": {"count": 8}`: {Count: 8},
		`"gpu": {"memory": "8GiB", "model": "H100"}`:                                      {Count: 1, MemoryBytes: 8 << 30, Models: []string{"H100"}},
		`"gpu": {"model": ["H100", "A100-SXM4"], "share": "exclusive"}`:                   {Count: 1, Models: []string{"H100", "A100-SXM4"}},
		`"gpu": {"share": "shared", "memory": 2097152}`:                                   {Count: 1, MemoryBytes: 2 << 20, Shared: true},
		`"gpu": {"driver": ">=535, <560", "idle": {"below": 5, "for": "10m"}}`:            {Count: 1, Driver: ">=535, <560", Idle: &events.GPUIdle{BelowPercent: 5, ForMillis: 600_000}},
		`"gpu": {"idle": {"for": 90.5, "below": 100}, "count": 1, "driver": "550.54.15"}`: {Count: 1, Driver: "550.54.15", Idle: &events.GPUIdle{BelowPercent: 100, ForMillis: 90_500}},
	} {
		m, err := Parse([]byte(with(line)))
		if diff := cmp.Diff(want, m.Config.GPU); err != nil || diff != "" {
			t.Errorf("%s: %v %s", line, err, diff)
			continue
		}
		raw, err := Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Parse(raw); err != nil || !cmp.Equal(again.Config.GPU, want) {
			t.Errorf("%s: written as %s and read as %+v, %v", line, raw, again.Config.GPU, err)
		}
	}
}

func TestGPUProblemsAreNamedWithTheirLine(t *testing.T) {
	for line, want := range map[string]string{
		`"gpu": true`:                                  `8: gpu: must be an object like {"count": 1, "memory": "8GiB"}, is a boolean`,
		`"gpu": {"count": 0}`:                          `8: gpu: count: 0 must be a whole number from 1 to 64`,
		`"gpu": {"count": 1.5}`:                        `8: gpu: count: 1.5 must be a whole number from 1 to 64`,
		`"gpu": {"count": "2"}`:                        `8: gpu: count: must be a number, like 2; is a string`,
		`"gpu": {"memory": "8"}`:                       `8: gpu: memory: "8" must be whole bytes from 1.0 MiB to 1.0 PiB`,
		`"gpu": {"model": []}`:                         `8: gpu: model: is an empty list; leave it out for any`,
		`"gpu": {"model": "a|b"}`:                      `8: gpu: model: "a|b" must be a part of a model's name, like "H100"; allowed are letters, digits, space and "-._"`,
		`"gpu": {"model": [1]}`:                        `8: gpu: model: must be a list of strings, like ["H100", "A100"]`,
		`"gpu": {"model": 1}`:                          `8: gpu: model: must be a string or a list, like ["H100", "A100"]; is a number`,
		`"gpu": {"share": "some"}`:                     `8: gpu: share: "some" must be exclusive or shared`,
		`"gpu": {"share": "shared"}`:                   `8: gpu: share: "shared" needs memory: it is what is set aside on the device, beside that of others`,
		`"gpu": {"driver": "new"}`:                     `8: gpu: driver: "new" must be a constraint on the driver's version, like ">=550" or ">=535 <560"`,
		`"gpu": {"idle": 5}`:                           `8: gpu: idle: must be an object like {"below": 5, "for": "10m"}: a percentage, and a time`,
		`"gpu": {"idle": {"below": 0, "for": "10m"}}`:  `8: gpu: idle: below: 0 must be a whole number from 1 to 100, in percent`,
		`"gpu": {"idle": {"below": 5, "for": "1s"}}`:   `8: gpu: idle: for: "1s" must be from 10s to 87600h0m0s`,
		`"gpu": {"idle": {"below": 5, "for": "soon"}}`: `8: gpu: idle: for: "soon" must be a duration, like "10m" or "1h30m"`,
		`"gpu": {"modle": "H100"}`:                     `8: gpu: modle is not a key; did you mean model?`,
		`"gpu": {"count": 1, "count": 1}`:              `8: gpu: count is there twice`,
		"\"gpu\": {\n\"count\": 1,\n\"memroy\": 1}":    `10: gpu: memroy is not a key; did you mean memory?`,
		`"GPU": {}`:                                    `8: GPU: is not a key; did you mean gpu?`,
	} {
		_, err := Parse([]byte(with(line)))
		if err == nil || err.Error() != FileName+":"+want {
			t.Errorf("%s:\n got %v\nwant %s:%s", line, err, FileName, want)
		}
	}
}

// A function that is not gpuCapable asks for no GPU, wherever in the file it says so.
func TestGPUNeedsGPUCapable(t *testing.T) {
	file := strings.Replace(with(`"gpu": {"count": 1}`), `"gpuCapable": true`, `"gpuCapable": false`, 1)
	_, err := Parse([]byte(file))
	want := "hermes.config.json:8: gpu: asks for GPUs, but gpuCapable is false: set it to true, or leave gpu out"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestParseGPU(t *testing.T) {
	base := events.GPURequest{Count: 1, MemoryBytes: 1 << 30, Models: []string{"L4"}, Shared: true}
	for text, want := range map[string]events.GPURequest{
		"count=2": {Count: 2, MemoryBytes: 1 << 30, Models: []string{"L4"}, Shared: true},
		"memory=8GiB,model=H100|A100,share=exclusive": {Count: 1, MemoryBytes: 8 << 30, Models: []string{"H100", "A100"}},
		"driver=>=550 <560,idle=5%/10m": {Count: 1, MemoryBytes: 1 << 30, Models: []string{"L4"}, Shared: true, Driver: ">=550 <560",
			Idle: &events.GPUIdle{BelowPercent: 5, ForMillis: 600_000}},
	} {
		g, err := ParseGPU(text)
		if diff := cmp.Diff(want, g.Over(base)); err != nil || diff != "" {
			t.Errorf("%s: %v %s", text, err, diff)
		}
	}
	for text, want := range map[string]string{
		"":                `"" must be KEY=VALUE, like memory=8GiB; the keys are count, memory, model, share, driver, idle`,
		"2":               `"2" must be KEY=VALUE, like memory=8GiB; the keys are count, memory, model, share, driver, idle`,
		"count=two":       `count: must be a number, like 2; is a string`,
		"count=2,count=3": `count is there twice`,
		"memory=8GiB,":    `"" must be KEY=VALUE, like memory=8GiB; the keys are count, memory, model, share, driver, idle`,
		"models=H100":     `models is not a key; did you mean model?`,
		"model=":          `model: "" must be a part of a model's name, like "H100"; allowed are letters, digits, space and "-._"`,
		"idle=10m":        `idle: "10m" must be a percentage and a time, like "5%/10m"`,
		"idle=5%/1":       `idle: for: "1" must be a duration, like "10m" or "1h30m"`,
	} {
		if _, err := ParseGPU(text); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// What GPUText says, ParseGPU reads.
func TestGPUTextIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := events.GPURequest{
			Count: rapid.IntRange(1, maxGPUs).Draw(t, "count"), MemoryBytes: rapid.Int64Range(minGPUBytes, maxSizeBytes).Draw(t, "memory"),
			Models: rapid.SliceOfN(rapid.StringMatching(`[A-Z][A-Z0-9]{0,3}( [0-9]g\.[0-9]{2}gb)?`), 0, 3).Draw(t, "models"),
			Shared: rapid.Bool().Draw(t, "shared"), Driver: rapid.SampledFrom([]string{"", ">=550", ">=535 <560 || 580.65.06"}).Draw(t, "driver"),
		}
		if len(want.Models) == 0 {
			want.Models = nil
		}
		if rapid.Bool().Draw(t, "idle") {
			want.Idle = &events.GPUIdle{BelowPercent: rapid.IntRange(1, 100).Draw(t, "below"), ForMillis: rapid.Int64Range(10_000, 1e9).Draw(t, "for")}
		}
		g, err := ParseGPU(GPUText(want))
		if err != nil {
			t.Fatal(err)
		}
		got := g.Over(events.GPURequest{Count: 1})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if err := CheckGPU(got); err != nil {
			t.Fatal(err)
		}
	})
}
