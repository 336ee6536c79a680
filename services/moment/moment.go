// Package moment reads the moments that people write as values of flags, for all commands alike.
package moment

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Help says what Parse reads.
const Help = `12:03:05, "11/24 12:03:05.250", 2026-11-24T12:03:05Z, or -30s for half a minute ago, 7d for a week`

// Forms of a time of day, alone or behind a date without a year.
var (
	clockForms = []string{"15:04", "15:04:05"}
	dateForms  = []string{"01/02 15:04", "01/02 15:04:05", "01/02"}
	wholeForms = []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02"}
)

// Parse reads a moment as people write it: RFC 3339, a time of day or a date as the tables
// show them (the last such moment that has been), a duration before now with or without its minus,
// or now. What has no zone is local.
func Parse(text string, now time.Time) (time.Time, bool) {
	text = strings.TrimSpace(text)
	if text == "now" {
		return now, true
	}
	if ago, err := Duration(strings.TrimPrefix(text, "-")); err == nil && ago >= 0 {
		return now.Add(-ago), true
	}
	for _, form := range wholeForms {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return t, true
		}
	}
	for _, form := range clockForms {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return lastBefore(now, func(days int) time.Time {
				return time.Date(now.Year(), now.Month(), now.Day()-days, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), now.Location())
			}), true
		}
	}
	for _, form := range dateForms {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return lastBefore(now, func(years int) time.Time {
				return time.Date(now.Year()-years, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), now.Location())
			}), true
		}
	}
	return time.Time{}, false
}

// lastBefore is this day's or year's moment, or, if that is still to come, the one before it.
func lastBefore(now time.Time, ago func(int) time.Time) time.Time {
	if t := ago(0); !t.After(now) {
		return t
	}
	return ago(1)
}

// Flag is the value of a flag that takes a moment; empty is the zero time. Its error names the flag.
func Flag(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, ok := Parse(text, now)
	if !ok {
		return t, fmt.Errorf("--%s %q: must be a time: %s", flag, text, Help)
	}
	return t, nil
}

// day is how long a day is, where it is a length of time.
const day = 24 * time.Hour

// Duration reads a length of time as people write it: as Go does, or as whole days, like 7d.
func Duration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil { // 65535 days are 179 years
			return time.Duration(n) * day, nil
		}
	}
	return time.ParseDuration(text)
}

// Text writes a length of time so that Duration reads it, in few letters.
func Text(d time.Duration) string {
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	for _, nothing := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, nothing) {
			text = text[:len(text)-2]
		}
	}
	return text
}
