package moment

import (
	"testing"
	"time"
)

func TestMoments(t *testing.T) {
	zone := time.FixedZone("", 3600)
	now := time.Date(2026, 3, 5, 12, 30, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"now":                   now,
		"-30s":                  now.Add(-30 * time.Second),
		"1h30m":                 now.Add(-90 * time.Minute),
		"12:03:05":              time.Date(2026, 3, 5, 12, 3, 5, 0, zone),
		"12:03:05.250":          time.Date(2026, 3, 5, 12, 3, 5, 250e6, zone),
		"12:31":                 time.Date(2026, 3, 4, 12, 31, 0, 0, zone),
		"03/05 12:03:05.001":    time.Date(2026, 3, 5, 12, 3, 5, 1e6, zone),
		"11/24 12:03:05":        time.Date(2025, 11, 24, 12, 3, 5, 0, zone),
		"2026-03-01":            time.Date(2026, 3, 1, 0, 0, 0, 0, zone),
		"2026-03-01 10:00":      time.Date(2026, 3, 1, 10, 0, 0, 0, zone),
		"2026-03-01T10:00:00Z":  time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
		"2026-03-01T10:00:00.5": time.Date(2026, 3, 1, 10, 0, 0, 5e8, zone),
	} {
		if got, ok := Parse(text, now); !ok || !got.Equal(want) {
			t.Errorf("%q is %s, %v; want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "soon", "25:00", "--3s", "13/40 10:00", "5"} {
		if got, ok := Parse(text, now); ok {
			t.Errorf("%q was taken for %s", text, got)
		}
	}
}

func TestFlag(t *testing.T) {
	now := time.Date(2026, 3, 5, 12, 30, 0, 0, time.UTC)
	if got, err := Flag("since", "", now); err != nil || !got.IsZero() {
		t.Errorf("without a value it is %s, %v", got, err)
	}
	if got, err := Flag("since", "2h", now); err != nil || !got.Equal(now.Add(-2*time.Hour)) {
		t.Errorf("2h is %s, %v", got, err)
	}
	if _, err := Flag("since", "soon", now); err == nil || err.Error() != `--since "soon": must be a time: `+Help {
		t.Errorf("a wrong one is told by %v", err)
	}
}
