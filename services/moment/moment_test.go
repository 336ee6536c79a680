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
		"7d":                    now.Add(-7 * 24 * time.Hour),
		"-1d":                   now.Add(-24 * time.Hour),
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
	for _, text := range []string{"", "soon", "25:00", "--3s", "13/40 10:00", "5", "d", "1.5d", "99999d"} {
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

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"7d": 7 * 24 * time.Hour, "36h": 36 * time.Hour, "1h30m": 90 * time.Minute, "0": 0, "0d": 0} {
		if got, err := Duration(text); err != nil || got != want {
			t.Errorf("%q is %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1d12h", "week", "65536d"} {
		if got, err := Duration(text); err == nil {
			t.Errorf("%q was taken for %s", text, got)
		}
	}
	for want, d := range map[string]time.Duration{
		"30d": 720 * time.Hour, "36h": 36 * time.Hour, "1h": time.Hour, "1h30m": 90 * time.Minute, "1h0m5s": time.Hour + 5*time.Second,
		"5m": 5 * time.Minute, "10s": 10 * time.Second, "1m10s": 70 * time.Second, "20h": 20 * time.Hour, "0s": 0, "250ms": 250 * time.Millisecond,
	} {
		if got := Text(d); got != want {
			t.Errorf("%s is written %q, not %q", d, got, want)
		}
		if back, err := Duration(want); err != nil || back != d {
			t.Errorf("%q is read as %s, %v", want, back, err)
		}
	}
}
