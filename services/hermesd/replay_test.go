package main

import (
	"testing"
	"time"
)

func TestMomentsThatHaveBeen(t *testing.T) {
	now := time.Date(2026, 12, 6, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-12-06T11:03:05Z": time.Date(2026, 12, 6, 11, 3, 5, 0, time.UTC),
		"13:03":                time.Date(2026, 12, 5, 13, 3, 0, 0, time.UTC), // yesterday's: today's is to come
		"-2h":                  now.Add(-2 * time.Hour),
		"2h":                   now.Add(-2 * time.Hour), // as everywhere
		"2026-12-07":           {},
		"soon":                 {},
		"":                     {},
	} {
		got, err := pastMoment(text, now)
		if (err != nil) != want.IsZero() || err == nil && !got.Equal(want) {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
}
