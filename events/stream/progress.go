package stream

import (
	"log/slog"
	"math"
	"time"
)

// progressEvery is how often a long read logs its progress.
const progressEvery = 3 * time.Second

// progress logs how far the reading of a bucket is: a million values take ten seconds and
// more. A read shorter than progressEvery logs nothing.
type progress struct {
	log    *slog.Logger
	began  time.Time
	next   time.Time // when to log again
	values int
}

func newProgress(log *slog.Logger, bucket, keys string) *progress {
	now := time.Now()
	return &progress{log: log.With("bucket", bucket, "keys", keys), began: now, next: now.Add(progressEvery)}
}

// step counts one more value. left is how many remain.
func (p *progress) step(left uint64) {
	p.values++
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next = now.Add(progressEvery)
	rate := float64(p.values) / now.Sub(p.began).Seconds()
	p.log.Info("reading a bucket", "values", p.values, "total", uint64(p.values)+left, "per_second", math.Round(rate)) //nolint:gosec // a count
}
