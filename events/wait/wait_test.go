package wait

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
)

var errAway = errors.New("away")

func TestUntilTriesUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, tries, heard := time.Now(), 0, 0
		err := Until(t.Context(), time.Second, func(error) { heard++ }, func() error {
			if tries++; tries < 4 {
				return errAway
			}
			return nil
		})
		if err != nil || tries != 4 || heard != 1 || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %d tries, %d failures reported and %v; want nil, 4, 1, 3s", err, tries, heard, time.Since(began))
		}
	})
}

func TestUntilEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		began := time.Now()
		err := Until(ctx, time.Second, nil, func() error { return errAway })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2500*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestUntilGivesUpWhatIsPermanent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		err := Until(t.Context(), time.Second, nil, func() error {
			tries++
			return backoff.Permanent(errAway)
		})
		if !errors.Is(err, errAway) || tries != 1 {
			t.Errorf("%v after %d tries", err, tries)
		}
	})
}

// Match waits so for each event, and nearly always the first try succeeds.
func TestUntilAllocatesNothingUnlessItFails(t *testing.T) {
	tries, heard := 0, 0
	failed := func(error) { heard++ }
	allocs := testing.AllocsPerRun(100, func() {
		if Until(t.Context(), time.Second, failed, func() error { tries++; return nil }) != nil {
			t.Error("failed")
		}
	})
	if allocs != 0 || tries != 101 || heard != 0 {
		t.Errorf("%v allocations in each of %d tries, %d failures reported; want 0 in 101, 0", allocs, tries, heard)
	}
}

func TestForReportsWhyItEndedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errAway)
		if err := For(ctx, time.Hour); !errors.Is(err, errAway) {
			t.Errorf("%v", err)
		}
		began := time.Now()
		if err := For(t.Context(), time.Second); err != nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestEveryKeepsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		n := 0
		Every(ctx, time.Second, func(time.Time) { n++ })
		if n != 3 {
			t.Errorf("called %d times in 3.5 s", n)
		}
	})
}

func TestDrainHurriesWhenTheWorkIsWanted(t *testing.T) {
	for name, tc := range map[string]struct {
		wantedAfter, backAfter, took time.Duration // a wantedAfter of 0 means never
		done                         bool
	}{
		"the work ends in time":          {0, 2 * time.Second, 2 * time.Second, true},
		"it does not":                    {0, time.Hour, 10 * time.Second, false},
		"somebody wants it meanwhile":    {time.Second, time.Hour, 1750 * time.Millisecond, false},
		"the work ends within the hurry": {time.Second, 1500 * time.Millisecond, 1500 * time.Millisecond, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wanted, began := make(chan struct{}), time.Now()
				if tc.wantedAfter > 0 {
					time.AfterFunc(tc.wantedAfter, func() { close(wanted) })
				}
				d := Drain{Grace: 10 * time.Second, Hurry: 750 * time.Millisecond, Wanted: wanted}
				done := d.Until(func() bool { return time.Since(began) >= tc.backAfter })
				if took := time.Since(began); done != tc.done || took != tc.took {
					t.Errorf("%t after %v, want %t after %v", done, took, tc.done, tc.took)
				}
			})
		})
	}
}
