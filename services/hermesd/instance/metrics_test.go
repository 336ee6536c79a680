package instance_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/hermesd/metrics"
)

var update = flag.Bool("update", false, "write the golden file anew")

// scrape asks as Prometheus does.
func scrape(ctx context.Context, t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(ask)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("answered with %s", answer.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// series are the names, kinds and labels of Hermes' own metrics, and their values.
func series(families map[string]*dto.MetricFamily) map[string]float64 {
	all := map[string]float64{}
	for name, family := range families {
		if !strings.HasPrefix(name, "hermes_") {
			continue
		}
		for _, m := range family.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			key := fmt.Sprintf("%s %s{%s}", strings.ToLower(family.GetType().String()), name, strings.Join(labels, ","))
			all[key] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

func TestMetrics(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	set := metrics.New("0.0.0")
	server := httptest.NewServer(set.Handler())
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	in := startWith(t, dir, func(o *instance.Options) { o.Metrics = set })
	c := client(t, dir, in)
	deploy(ctx, t, c, map[string]string{
		"hermes.config.json": `{"functionName":"secret","language":"cpp","gpuCapable":false,"functionVersion":"1.0.0","handler":"./run.sh","sandbox":"reuse"}`,
		"Makefile":           "all:\n\t@echo building\nclean:\n\t@true\n",
		"run.sh":             "#!/bin/sh\necho printed\nexit $(cat)\n",
	})
	for code, want := range []executions.Status{executions.Success, executions.Error, executions.Error} {
		id := api.NewID()
		if _, err := api.Call[api.Accepted](ctx, c, api.OpRun, api.Run{
			ID: id, Function: events.FunctionRef{Name: "secret"}, Input: events.Input{Inline: []byte(fmt.Sprint(code))},
		}); err != nil {
			t.Fatal(err)
		}
		if e := wait(ctx, t, c, id); e.Status != want {
			t.Fatalf("run %d ended %s", code, e.Status)
		}
	}
	got := series(scrape(ctx, t, server.URL))
	for name, want := range map[string]float64{
		`gauge hermes_leader{}`: 1, `gauge hermes_slots{}`: 4, `gauge hermes_queue_length{}`: 0,
		`counter hermes_executions_ended_total{reason="",state="success"}`:   2,
		`counter hermes_executions_ended_total{reason="exit",state="error"}`: 2,
		`counter hermes_sandboxes_taken_total{how="cold"}`:                   1,
		`counter hermes_sandboxes_taken_total{how="reused"}`:                 2,
		`histogram hermes_sandbox_create_seconds{result="ok"}`:               2,
		`counter hermes_output_bytes_total{}`:                                float64(3*len("printed\n") + len("building\n")),
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	// Whether the build's sandbox is removed yet is another matter.
	delete(got, `histogram hermes_sandbox_remove_seconds{result="ok"}`)
	names := strings.Join(slices.Sorted(maps.Keys(got)), "\n") + "\n"
	const golden = "testdata/metrics.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(names), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), names); diff != "" {
		t.Error(diff)
	}
	for _, private := range []string{"ana", "secret", "local"} {
		if strings.Contains(names, private) {
			t.Errorf("%q is told", private)
		}
	}
	if err := in.Stop(); err != nil {
		t.Error(err)
	}
	got = series(scrape(ctx, t, server.URL))
	if created, removed := got[`histogram hermes_sandbox_create_seconds{result="ok"}`], got[`histogram hermes_sandbox_remove_seconds{result="ok"}`]; created != removed {
		t.Errorf("%v sandboxes were made and %v removed", created, removed)
	}
}
