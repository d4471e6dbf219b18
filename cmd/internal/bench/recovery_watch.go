package bench

import (
	"context"
	"sync/atomic"
	"time"

	"poked/cmd/internal/child"
)

// recoveryWatch publishes, kills and watches, each in a goroutine.
type recoveryWatch struct {
	*recoveryRun

	acks      *acks
	half      chan struct{} // closed when half of the events are published
	published atomic.Int64
	samples   []recoverySample
}

// recoverySample is how far everything was at some time.
type recoverySample struct {
	at         time.Time
	pokes      int           // received
	cpu        time.Duration // of the dispatcher, since its start
	nats       time.Duration // of NATS
	restarted  bool          // the dispatcher is the second one
	answers    bool          // so dispatcher is known
	dispatcher scraped
}

// sampleEvery is how often a sample is taken.
const sampleEvery = 100 * time.Millisecond

func (w *recoveryWatch) publish(ctx context.Context) error {
	return w.w.offer(ctx, w.Rate, w.acks, func(n int) bool {
		w.published.Store(int64(n))
		if n == w.Events/2 {
			close(w.half)
		}
		return n < w.Events
	})
}

// kill kills and restarts the dispatcher in the middle, and takes samples until every poke
// has arrived.
func (w *recoveryWatch) kill(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for live := true; live; {
		if err := w.sample(ctx, false); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-w.half:
			live = false
		}
	}
	if err := w.sample(ctx, false); err != nil {
		return err
	}
	w.report.Slowest = time.Duration(w.acks.slowest.Load())
	w.report.KilledAt = time.Now()
	w.d.Kill()
	w.report.DeadAt = time.Now()
	w.progress("killed after %d events", w.published.Load())
	if err := w.d.Start(); err != nil {
		return err
	}
	return w.settle(ctx, tick.C)
}

// settle takes samples until every poke has arrived or was passed over, and the dispatcher
// has nothing left to do, or the time for that is over. It also ends if nothing has changed
// for long: what is missing then is lost.
func (w *recoveryWatch) settle(ctx context.Context, tick <-chan time.Time) error {
	told, changed, last := time.Now(), time.Now(), -1
	for {
		if err := w.sample(ctx, true); err != nil {
			return err
		}
		s := w.samples[len(w.samples)-1]
		idle := s.answers && w.published.Load() == int64(w.Events) && s.dispatcher.left() == 0
		gone := s.pokes + int(s.dispatcher.passedOver)
		quiet := time.Since(changed)
		switch {
		case idle && gone >= w.pokes(), idle && quiet > patience, quiet > settlePatience:
			return nil
		case time.Since(w.report.KilledAt) > w.AtMost:
			w.report.Unfinished = true
			return nil
		case gone != last:
			last, changed = gone, time.Now()
		}
		if time.Since(told) >= time.Second {
			told = time.Now()
			w.progress("%s after the kill: %d of %d events published, %.0f to match, %d of %d pokes, %.0f passed over",
				time.Since(w.report.KilledAt).Round(time.Second), w.published.Load(), w.Events, s.dispatcher.toMatch, s.pokes, w.pokes(), s.dispatcher.passedOver)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
		}
	}
}

func (w *recoveryWatch) sample(ctx context.Context, restarted bool) error {
	s := recoverySample{at: time.Now(), restarted: restarted}
	if err := w.sink.get(ctx, "/count", &s.pokes); err != nil {
		return err
	}
	s.cpu, s.nats = child.CPUOf(w.d.PID()), w.w.apart.cpu()
	dispatcher, err := w.d.scrape(ctx)
	s.dispatcher, s.answers = dispatcher, err == nil // it may not be ready yet
	w.samples = append(w.samples, s)
	return ctx.Err()
}
