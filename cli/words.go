package cli

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// clockTime is the first Hermes' form of a time of day: MM/DD HH:mm:ss.SSS, in local time. A zero
// time is empty.
func clockTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("01/02 15:04:05.000")
}

// elapsed is HH:MM:SS.mmm; hours grow past two digits.
func elapsed(d time.Duration) string {
	d = max(d, 0)
	ms := d.Milliseconds()
	return fmt.Sprintf("%02d:%02d:%02d.%03d", ms/3_600_000, ms/60_000%60, ms/1000%60, ms%1000)
}

// size says bytes in the largest binary unit that keeps it short.
func size(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(bytes), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 || value == float64(int64(value)) {
		return fmt.Sprintf("%d %s", int64(value), units[unit])
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// shortDigest is what of a digest fits into a column and is still unique in practice.
func shortDigest(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	if len(hex) > 12 {
		return hex[:12]
	}
	return hex
}

// printable is a text that nobody vouches for, in one line that a terminal can be shown.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// micros says a duration given in microseconds, to a tenth of a millisecond; 0 is empty.
func micros(us int64) string {
	if us == 0 {
		return ""
	}
	return (time.Duration(us) * time.Microsecond).Round(100 * time.Microsecond).String()
}

// millis says a duration given in milliseconds; 0 is empty.
func millis(ms int64) string {
	if ms == 0 {
		return ""
	}
	return (time.Duration(ms) * time.Millisecond).String()
}
