package stream

import (
	"log/slog"
	"math"
	"time"
)

// progressEvery is how often something that takes long says how far it is.
const progressEvery = 3 * time.Second

// progress tells the log how far the reading of a bucket is: a million values
// take ten seconds and more. What takes less than progressEvery is not worth a
// line.
type progress struct {
	log    *slog.Logger
	began  time.Time
	next   time.Time // when there is something to say again
	values int
}

func newProgress(log *slog.Logger, bucket, keys string) *progress {
	now := time.Now()
	return &progress{log: log.With("bucket", bucket, "keys", keys), began: now, next: now.Add(progressEvery)}
}

// step takes in that one more value was read, and how many are left.
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
