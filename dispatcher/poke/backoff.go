package poke

import (
	"math/rand/v2"
	"time"
)

// Schedule is how the waits between tries of one pusher grow.
type Schedule struct {
	First time.Duration // ceiling of the first wait
	Limit time.Duration // ceiling of all waits
}

// The two classes of DESIGN.md §7: a gateway that may be well again in a
// moment, and one that somebody has to mend.
const (
	QuickFirst, QuickLimit = time.Second, 5 * time.Minute
	slowFirst, SlowLimit   = time.Minute, time.Hour
)

func ScheduleOf(kind Kind) Schedule {
	if kind == Slow {
		return Schedule{slowFirst, SlowLimit}
	}
	return Schedule{QuickFirst, QuickLimit}
}

// Wait returns how long to wait after the given number of failures in a row, 1
// or more: a random time up to a ceiling ("full jitter") which doubles with
// every failure. For the quick class the ceilings are 1 s, 2 s, 4 s … 256 s and
// then 5 min; for the slow one 1 min, 2 min … 32 min and then 1 h.
func (s Schedule) Wait(failures int) time.Duration {
	return Spread(s.Ceiling(failures))
}

// Ceiling returns the longest wait after the given number of failures in a row.
func (s Schedule) Ceiling(failures int) time.Duration {
	ceiling := s.First
	for ; failures > 1 && ceiling < s.Limit; failures-- {
		ceiling *= 2
	}
	return min(ceiling, s.Limit)
}

// Spread returns a random time below d, for things that must not all happen at
// once.
func Spread(d time.Duration) time.Duration {
	return rand.N(d) //nolint:gosec // jitter needs no secrecy
}
