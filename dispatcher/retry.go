package dispatcher

import (
	"math/rand/v2"
	"time"
)

// schedule is how the waits between tries of one pusher grow.
type schedule struct {
	first time.Duration // ceiling of the first wait
	limit time.Duration // ceiling of all waits
}

// The two classes of DESIGN.md §7: a gateway that may be well again in a
// moment, and one that somebody has to mend.
const (
	quickFirst, quickLimit = time.Second, 5 * time.Minute
	slowFirst, slowLimit   = time.Minute, time.Hour
)

func scheduleOf(kind outcomeKind) schedule {
	if kind == outcomeSlow {
		return schedule{slowFirst, slowLimit}
	}
	return schedule{quickFirst, quickLimit}
}

// wait returns how long to wait after the given number of failures in a row, 1
// or more: a random time up to a ceiling ("full jitter") which doubles with
// every failure. For the quick class the ceilings are 1 s, 2 s, 4 s … 256 s and
// then 5 min; for the slow one 1 min, 2 min … 32 min and then 1 h.
func (s schedule) wait(failures int) time.Duration {
	return spread(s.ceiling(failures))
}

// ceiling returns the longest wait after the given number of failures in a row.
func (s schedule) ceiling(failures int) time.Duration {
	ceiling := s.first
	for ; failures > 1 && ceiling < s.limit; failures-- {
		ceiling *= 2
	}
	return min(ceiling, s.limit)
}

// spread returns a random time below d, for things that must not all happen at
// once.
func spread(d time.Duration) time.Duration {
	return rand.N(d) //nolint:gosec // jitter needs no secrecy
}
