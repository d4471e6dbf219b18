package bench

import (
	"context"
	"errors"
	"time"
)

// outageReport is the result of an outage of all gateways and of their recovery.
type outageReport struct {
	Lagging int `json:"lagging"` // pushers, each of which missed outageEach notifications
	Rooms   int `json:"rooms"`   // of the missed notifications
	Refused int `json:"refused"` // attempts during the outage

	// Earlier and Before are measured before and after the delivery of as many
	// notifications as are missed in the outage: the difference is the cost of the log.
	Earlier  memoryUse      `json:"memory_earlier"`
	Before   memoryUse      `json:"memory_before"`
	PeakWell int64          `json:"peak_rss_while_all_is_well"`
	During   memoryUse      `json:"memory_while_they_lag"`
	Peak     int64          `json:"peak_rss_catching_up"`
	After    memoryUse      `json:"memory_after"`
	CaughtUp gatewaysReport `json:"caught_up"`

	Lost       int `json:"lost"` // before the outage or after it
	Duplicates int `json:"duplicates"`

	Rate     float64   `json:"pokes_per_second"` // from the first to the last poke
	Busiest  int       `json:"busiest_second"`
	CPU      float64   `json:"cpu_us_per_poke"` // of this process, with NATS
	BareRate []float64 `json:"bare_per_second"` // twice before the outage, and after it
	BareCPU  []float64 `json:"bare_cpu_us_per_poke"`
	Limit    int       `json:"in_flight_limit"`
}

// ratio returns a rate divided by the bare loop's.
func (o *outageReport) ratio(rate float64) float64 { return rate / mean(o.BareRate) }

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// bareConcurrency is the number of requests in flight of the bare loop.
const bareConcurrency = 256

// outage makes all gateways fail while every pusher misses notifications, and recover at
// once.
func (r *isolationRun) outage(ctx context.Context) (_ *outageReport, err error) {
	w, err := r.world(ctx, r.Lagging/outageFanout, outageFanout, r.LaggingRooms)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	report := &outageReport{Lagging: r.Lagging, Rooms: r.LaggingRooms, Limit: r.Dispatcher.GatewaySlots}
	for _, step := range []func(context.Context, *world, *outageReport) error{
		r.tellAll, r.bareRound, measured(&report.Earlier),
		r.tellAll, r.bareRound, measured(&report.Before),
		r.fallBehind, measured(&report.During),
		r.catchUp, measured(&report.After),
		r.bareRound,
	} {
		if err := step(ctx, w, report); err != nil {
			return nil, err
		}
	}
	return report, nil
}

// measured returns a step that measures memory.
func measured(into *memoryUse) func(context.Context, *world, *outageReport) error {
	return func(context.Context, *world, *outageReport) error {
		*into = remember()
		return nil
	}
}

// tellAll delivers to every pusher as many notifications as it will miss. After the first
// time the dispatcher has state for every pusher, so that this does not count as a cost of
// the outage.
func (r *isolationRun) tellAll(ctx context.Context, w *world, report *outageReport) error {
	pokes, delivered := outageEach*r.Lagging, w.d.Stats().Delivered
	r.progress("%d pokes while all gateways work", pokes)
	if err := w.publish(ctx, outageEach*w.groups); err != nil {
		return err
	}
	if err := w.settle(ctx, r.progress, func() int64 {
		report.PeakWell = max(report.PeakWell, residentBytes())
		s := w.d.Stats()
		return int64(pokes) - int64(s.Delivered-delivered) + s.Lagging //nolint:gosec // no counter is that high
	}); err != nil {
		return err
	}
	seen, err := r.gateways.all(ctx, pokes)
	report.Lost, report.Duplicates = report.Lost+seen.Lost, report.Duplicates+seen.Duplicates
	return err
}

// bareRound measures the bare loop.
func (r *isolationRun) bareRound(ctx context.Context, _ *world, report *outageReport) error {
	bare := newBareLoop(r.gateways.urls, bareConcurrency)
	defer bare.close()
	pokes := outageEach * r.Lagging
	began, cost := time.Now(), spent()
	if err := bare.post(ctx, pokes); err != nil {
		return err
	}
	rate := float64(pokes) / time.Since(began).Seconds()
	report.BareRate = append(report.BareRate, rate)
	report.BareCPU = append(report.BareCPU, spent().since(cost).cpuEach(pokes))
	r.progress("bare loop: %.0f/s", rate)
	_, err := r.gateways.all(ctx, pokes)
	return err
}

// fallBehind makes all gateways fail while every pusher misses notifications.
func (r *isolationRun) fallBehind(ctx context.Context, w *world, report *outageReport) error {
	if err := r.gateways.behave(ctx, behaveDown); err != nil {
		return err
	}
	notified := w.d.Stats().Notifications
	if err := w.publish(ctx, outageEach*w.groups); err != nil {
		return err
	}
	if err := w.settle(ctx, r.progress, func() int64 {
		s, all := w.d.Stats(), int64(r.Lagging)
		return all - s.Lagging + outageEach*all - int64(s.Notifications-notified) //nolint:gosec // no counter is that high
	}); err != nil {
		return err
	}
	r.progress("all pushers lag, for %s", r.Outage)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(r.Outage):
	}
	seen, err := r.gateways.all(ctx, 0)
	report.Refused = seen.Refused
	return err
}

// catchUp makes all gateways work again and waits until all pushers have caught up.
func (r *isolationRun) catchUp(ctx context.Context, w *world, report *outageReport) error {
	if r.Profile != "" {
		stop, err := profile(r.Profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := r.gateways.behave(ctx, behaveWell); err != nil {
		return err
	}
	cost := spent()
	if err := w.settle(ctx, r.progress, func() int64 {
		report.Peak = max(report.Peak, residentBytes())
		return w.d.Stats().Lagging
	}); err != nil {
		return err
	}
	pokes := outageEach * r.Lagging
	report.CPU = spent().since(cost).cpuEach(pokes)
	seen, err := r.gateways.all(ctx, pokes)
	if err != nil {
		return err
	}
	report.CaughtUp = seen
	report.Lost, report.Duplicates = report.Lost+seen.Lost, report.Duplicates+seen.Duplicates
	report.Rate = float64(pokes) / (seen.LastAfter - seen.FirstAfter).Seconds()
	for _, n := range seen.EachSecond {
		report.Busiest = max(report.Busiest, n)
	}
	return nil
}
