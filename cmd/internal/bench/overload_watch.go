package bench

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// overload offers more than the machine can do, then nothing, and watches until everything
// is delivered.
func (r *overloadRun) overload(ctx context.Context) error {
	rate := r.Rate
	if rate == 0 {
		rate = r.Times * r.report.Full / float64(r.Fanout)
	}
	r.report.Offered = rate * float64(r.Fanout)
	watch := &overloadWatch{overloadRun: r, began: time.Now()}
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error { return watch.publish(both, rate) })
	group.Go(func() error { return watch.sampleAll(both) })
	if err := group.Wait(); err != nil {
		return err
	}
	seen, err := r.sink.report(ctx)
	if err != nil {
		return err
	}
	r.report.Published = int(watch.published.Load())
	r.report.conclude(seen, watch.delivered, watch.ended)
	return nil
}

// overloadWatch publishes and samples, each in a goroutine.
type overloadWatch struct {
	*overloadRun

	began     time.Time
	published atomic.Int64
	over      atomic.Bool // nothing more is published
	ended     time.Time   // when that began
	delivered int         // pokes until then
}

func (w *overloadWatch) publish(ctx context.Context, rate float64) error {
	err := w.w.offer(ctx, rate, newAcks(), func(int) bool {
		if time.Since(w.began) >= w.For {
			return false
		}
		w.published.Add(1)
		return true
	})
	if err != nil {
		return err
	}
	w.over.Store(true)
	w.ended = time.Now()
	return w.sink.get(ctx, "/count", &w.delivered)
}

// sampleAll takes a sample every second until everything is delivered, or the time for that
// is over. It also ends if nothing has changed for long: what is missing then is lost.
func (w *overloadWatch) sampleAll(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, changed := overloadSecond{}, time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		s, left, err := w.sample(ctx, last)
		if err != nil {
			return err
		}
		if s.pokes != last.pokes {
			changed = time.Now()
		}
		last = s
		w.report.Seconds = append(w.report.Seconds, s)
		w.progress("%4.0f s: offered %.0f/s, %.0f pokes/s, %d behind, %d passed over", s.At, s.Published, s.Rate, s.Behind, w.report.PassedOver)
		quiet := time.Since(changed)
		if time.Since(w.began) > w.For+w.DrainAtMost {
			w.report.Unfinished = true
			return nil
		}
		if idle := s.Drains && left == 0; idle && (s.Behind <= 0 || quiet > patience) || quiet > settlePatience {
			return nil
		}
	}
}

// sample returns what happened since the last sample, and what the dispatcher has left to
// do.
func (w *overloadWatch) sample(ctx context.Context, last overloadSecond) (s overloadSecond, left float64, err error) {
	s = overloadSecond{Drains: w.over.Load(), published: int(w.published.Load())} // before the pokes, so that nothing seems ahead
	if err := w.sink.get(ctx, "/count", &s.pokes); err != nil {
		return s, 0, err
	}
	now := time.Since(w.began)
	s.At = now.Seconds()
	took := now - time.Duration(last.At*float64(time.Second))
	s.Rate = perSecond(float64(s.pokes-last.pokes), took)
	s.Published = perSecond(float64((s.published-last.published)*w.Fanout), took)
	d, err := w.d.scrape(ctx)
	if err != nil { // it may be too busy to answer
		s.Behind = last.Behind
		return s, 1, ctx.Err()
	}
	w.report.PassedOver = int(d.passedOver)
	s.Behind = s.published*w.Fanout - s.pokes - w.report.PassedOver
	return s, d.left(), nil
}
