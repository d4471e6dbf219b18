package operate

import (
	"fmt"
	"strings"
	"time"
)

// Stamp returns a time to the second, or "-" for none.
func Stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// Relative returns a time Relative to now, or "-" for none.
func Relative(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	if d := t.Sub(now).Round(time.Second); d > 0 {
		return "in " + Short(d)
	}
	return Short(now.Sub(t).Round(time.Second)) + " ago"
}

// Short returns a duration of whole seconds in its two largest units, such as 2h5m.
func Short(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// ShortOrigin returns an origin without the port that its scheme implies.
func ShortOrigin(origin string) string {
	if scheme, _, _ := strings.Cut(origin, ":"); scheme == "https" {
		return strings.TrimSuffix(origin, ":443")
	}
	return strings.TrimSuffix(origin, ":80")
}
