package poke

import (
	"testing"
	"time"
)

func TestWaitCeilings(t *testing.T) {
	quick, slow := ScheduleOf(Retry), ScheduleOf(Slow)
	for _, tc := range []struct {
		name     string
		schedule Schedule
		failures int
		ceiling  time.Duration
	}{
		{"quick", quick, 1, time.Second},
		{"quick", quick, 2, 2 * time.Second},
		{"quick", quick, 9, 256 * time.Second},
		{"quick", quick, 10, 5 * time.Minute},
		{"quick", quick, 33, 5 * time.Minute},
		{"quick", quick, 64, 5 * time.Minute},
		{"quick", quick, 1000, 5 * time.Minute},
		{"slow", slow, 1, time.Minute},
		{"slow", slow, 6, 32 * time.Minute},
		{"slow", slow, 7, time.Hour},
		{"slow", slow, 1000, time.Hour},
	} {
		lowest, highest := tc.ceiling, time.Duration(0)
		for range 2000 {
			wait := tc.schedule.Wait(tc.failures)
			lowest, highest = min(lowest, wait), max(highest, wait)
		}
		// Full jitter: from nothing to the ceiling, and all of that is used.
		if lowest < 0 || highest > tc.ceiling || lowest > tc.ceiling/20 || highest < tc.ceiling-tc.ceiling/20 {
			t.Errorf("%s after %d failures: %v to %v, want 0 to %v", tc.name, tc.failures, lowest, highest, tc.ceiling)
		}
	}
}

// No count of failures makes a wait that is negative or longer than the limit.
func TestWaitNeverOverflows(t *testing.T) {
	for _, kind := range []Kind{Retry, Slow} {
		s := ScheduleOf(kind)
		for failures := 1; failures <= 1000; failures++ {
			if wait := s.Wait(failures); wait < 0 || wait > s.Limit {
				t.Fatalf("%v after %d failures: %v", kind, failures, wait)
			}
		}
	}
}
