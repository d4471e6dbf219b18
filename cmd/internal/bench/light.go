package bench

import (
	"context"
	"errors"
	"time"
)

// lightReport is the result of the rounds at a light load.
type lightReport struct {
	Pokes int              `json:"pokes_per_round"`
	Well  []gatewaysReport `json:"none_misbehaves"`
	Hang  []gatewaysReport `json:"one_hangs"`
	Fail  []gatewaysReport `json:"some_answers_fail"`
}

// light measures latency with each behaviour of the gateways, in turn.
func (r *isolationRun) light(ctx context.Context) (_ *lightReport, err error) {
	w, err := r.world(ctx, worldUsers/isolationFanout, isolationFanout, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	report := &lightReport{Pokes: int(r.LightFor.Seconds()*float64(r.LightRate)) / isolationFanout * isolationFanout}
	for round := range r.Rounds + 1 {
		for _, kind := range []struct {
			how  string
			into *[]gatewaysReport
		}{{behaveWell, &report.Well}, {behaveHang, &report.Hang}, {behaveFail, &report.Fail}} {
			if round == 0 && kind.how != behaveWell {
				continue // the first round opens rooms, files and connections, and is not reported
			}
			seen, err := r.lightRound(ctx, w, kind.how, report.Pokes)
			if err != nil {
				return nil, err
			}
			r.progress("light load, round %d of %d, %s: p50 %s, p99 %s, max %s; %d answers hung, %d refused",
				round, r.Rounds, kind.how, brief(seen.P50), brief(seen.P99), brief(seen.Max), seen.Hung, seen.Refused)
			if round > 0 {
				*kind.into = append(*kind.into, seen)
			}
		}
	}
	return report, nil
}

// lightRound publishes at a steady rate with one behaviour of the gateways. Then they
// behave well again, and it returns when they have received all pokes.
func (r *isolationRun) lightRound(ctx context.Context, w *world, how string, pokes int) (gatewaysReport, error) {
	if err := r.gateways.behave(ctx, how); err != nil {
		return gatewaysReport{}, err
	}
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
	if err != nil {
		return gatewaysReport{}, err
	}
	if err := r.gateways.behave(ctx, behaveWell); err != nil {
		return gatewaysReport{}, err
	}
	return r.gateways.all(ctx, pokes)
}
