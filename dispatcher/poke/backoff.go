package poke

import (
	"math/rand/v2"
	"time"
)

// Schedule is an exponential backoff with full jitter.
type Schedule struct {
	First time.Duration // ceiling of the first wait
	Limit time.Duration // ceiling of all waits
}

// The ceilings of the two schedules: [Retry] for failures that may be over in a moment,
// [Slow] for those that must be repaired.
const (
	QuickFirst = time.Second
	QuickLimit = 5 * time.Minute
	slowFirst  = time.Minute
	SlowLimit  = time.Hour
)

// ScheduleOf returns the schedule of the next tries after an outcome of a kind.
func ScheduleOf(kind Kind) Schedule {
	if kind == Slow {
		return Schedule{slowFirst, SlowLimit}
	}
	return Schedule{QuickFirst, QuickLimit}
}

// Wait returns how long to wait after a number of failures in a row, at least 1: a random
// time up to a ceiling ("full jitter") that doubles with every failure. The quick ceilings
// are 1 s, 2 s, 4 s … 256 s and then 5 min, the slow ones 1 min, 2 min … 32 min and then 1 h.
func (s Schedule) Wait(failures int) time.Duration {
	return Spread(s.Ceiling(failures))
}

// Ceiling returns the longest wait after a number of failures in a row.
func (s Schedule) Ceiling(failures int) time.Duration {
	ceiling := s.First
	for ; failures > 1 && ceiling < s.Limit; failures-- {
		ceiling *= 2
	}
	return min(ceiling, s.Limit)
}

// Spread returns a random time below d, so that things do not all happen at once.
func Spread(d time.Duration) time.Duration {
	return rand.N(d) //nolint:gosec // jitter needs no secrecy
}
