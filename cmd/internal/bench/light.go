package bench

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

// behaveBare is no behaviour of the gateways: the bare loop posts, and all work.
const behaveBare = "bare"

// lightKinds returns the kinds of rounds, in the order of a round.
func lightKinds() []string { return []string{behaveWell, behaveBare, behaveHang, behaveFail} }

// light measures latency with each behaviour of the gateways, in turn.
func (r *isolationRun) light(ctx context.Context) (_ *isolationReport, err error) {
	pokes := int(r.LightFor.Seconds()*float64(r.LightRate)) / isolationFanout * isolationFanout
	w, err := r.world(ctx, groupsFor(pokes, isolationFanout), isolationFanout, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	report := &isolationReport{Pokes: pokes, Busy: r.Busy}
	// The first round opens rooms, files and connections, and is not reported.
	if _, err := r.lightRound(ctx, w, behaveWell, report.Pokes); err != nil {
		return nil, err
	}
	for round := range r.Rounds {
		for _, how := range lightKinds() {
			if err := r.round(ctx, w, round, how, report); err != nil {
				return nil, err
			}
		}
	}
	return report, nil
}

// round measures one kind of round, and again beside busy processes if there are to be any.
func (r *isolationRun) round(ctx context.Context, w *world, round int, how string, report *isolationReport) error {
	measure := func(into *[]lightRound, beside int) error {
		seen, err := r.lightRound(ctx, w, how, report.Pokes)
		if err != nil {
			return err
		}
		*into = append(*into, lightRound{how, seen})
		r.progress("round %d of %d, %s, %d busy processes: p50 %s, p99 %s, max %s; %d answers hung, %d refused",
			round+1, r.Rounds, how, beside, brief(seen.P50), brief(seen.P99), brief(seen.Max), seen.Hung, seen.Refused)
		return nil
	}
	if err := measure(&report.Rounds, 0); err != nil || r.Busy == 0 {
		return err
	}
	return whileBusy(ctx, r.Busy, func() error { return measure(&report.Disturbed, r.Busy) })
}

// lightRound pokes at a steady rate with one behaviour of the gateways. Then they behave
// well again, and it returns when they have received all pokes.
func (r *isolationRun) lightRound(ctx context.Context, w *world, how string, pokes int) (gatewaysReport, error) {
	send, behaviour := r.publishRound, how
	if how == behaveBare {
		send, behaviour = r.bareRound, behaveWell
	}
	if err := r.gateways.behave(ctx, behaviour); err != nil {
		return gatewaysReport{}, err
	}
	if err := send(ctx, w, pokes); err != nil {
		return gatewaysReport{}, err
	}
	if err := r.gateways.behave(ctx, behaveWell); err != nil {
		return gatewaysReport{}, err
	}
	return r.gateways.all(ctx, pokes)
}

// publishRound publishes the events of so many pokes.
func (r *isolationRun) publishRound(ctx context.Context, w *world, pokes int) error {
	events := pokes / isolationFanout
	failed := make(chan error, events)
	err := paced(ctx, events, r.LightFor/time.Duration(events), func() error {
		w.publishOne(func(err error) { failed <- err })
		return nil
	})
	for range events {
		if err == nil {
			err = <-failed
		}
	}
	return err
}

// bareRound posts so many pokes with the bare loop, as many at once as an event causes.
func (r *isolationRun) bareRound(ctx context.Context, _ *world, pokes int) error {
	bare := newBareLoop(r.gateways.urls, bareConcurrency)
	defer bare.close()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(bareConcurrency)
	events := pokes / isolationFanout
	err := paced(ctx, events, r.LightFor/time.Duration(events), func() error {
		for range isolationFanout {
			group.Go(func() error { return bare.postOne(ctx) })
		}
		return nil
	})
	return errors.Join(err, group.Wait())
}
