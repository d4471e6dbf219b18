package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// outageReport is what an outage of all gateways, and their recovery, cost.
type outageReport struct {
	Lagging int `json:"lagging"` // pushers, each of which missed outageEach notifications
	Rooms   int `json:"rooms"`   // of which these came
	Refused int `json:"refused"` // tries during the outage

	// Earlier is before everybody was told as many notifications as are missed in
	// the outage, Before is after that: what the log of them costs by itself.
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

// ratio returns how the rate compares with the bare loop's.
func (o *outageReport) ratio(rate float64) float64 { return rate / mean(o.BareRate) }

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// bareConcurrency is how many requests the bare loop has out.
const bareConcurrency = 256

// settlePatience is how long nothing may change before the benchmark gives up.
// It is longer than any wait between two probes.
const settlePatience = 90 * time.Second

// outage has all gateways fail while every pusher misses notifications, and all
// recover at once.
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

// measured is the step that measures memory.
func measured(into *memoryUse) func(context.Context, *world, *outageReport) error {
	return func(context.Context, *world, *outageReport) error {
		*into = remember()
		return nil
	}
}

// tellAll tells every pusher as much as it will miss. The first time has the
// dispatcher know all of them, so that what the outage costs is not what a pusher
// costs that is seen for the first time.
func (r *isolationRun) tellAll(ctx context.Context, w *world, report *outageReport) error {
	pokes, delivered := outageEach*r.Lagging, w.d.Stats().Delivered
	r.progress("%d pokes while all is well", pokes)
	if err := w.publish(ctx, outageEach*w.groups); err != nil {
		return err
	}
	if err := r.settle(ctx, w, func() int64 {
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

// settle returns when left says 0, and fails when it has not changed for long or
// the dispatcher has ended.
func (r *isolationRun) settle(ctx context.Context, w *world, left func() int64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	changed, told, last := time.Now(), time.Now(), int64(-1)
	for {
		now := left()
		switch {
		case now == 0:
			return nil
		case now != last:
			last, changed = now, time.Now()
		case time.Since(changed) > settlePatience:
			return fmt.Errorf("%d pushers stay behind", now)
		}
		if time.Since(told) >= time.Second {
			r.progress("%d to go", now)
			told = time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-w.ended:
			w.ended <- nil // close waits for it
			return errors.Join(errors.New("the dispatcher ended"), err)
		case <-tick.C:
		}
	}
}

// bareRound measures the ceiling.
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

// fallBehind has everybody miss notifications.
func (r *isolationRun) fallBehind(ctx context.Context, w *world, report *outageReport) error {
	if err := r.gateways.behave(ctx, behaveDown); err != nil {
		return err
	}
	notified := w.d.Stats().Notifications
	if err := w.publish(ctx, outageEach*w.groups); err != nil {
		return err
	}
	if err := r.settle(ctx, w, func() int64 {
		s, all := w.d.Stats(), int64(r.Lagging)
		return all - s.Lagging + outageEach*all - int64(s.Notifications-notified) //nolint:gosec // no counter is that high
	}); err != nil {
		return err
	}
	r.progress("everybody lags, for %s", r.Outage)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(r.Outage):
	}
	seen, err := r.gateways.all(ctx, 0)
	report.Refused = seen.Refused
	return err
}

// catchUp has all gateways work again and waits until everybody has caught up.
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
	if err := r.settle(ctx, w, func() int64 {
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
