package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poked/dispatcher/deliver"
)

// Each user of the latency measurement is a group of one, with two rooms: one for
// notifications that stay unread, and one for the measurement.
const (
	userWithMuch = iota
	userWithNone
	latencyUsers
)

// latencies measures the latency for a user with many unread notifications and one with none.
func (r *unreadRun) latencies(ctx context.Context) (err error) {
	w, err := r.world(ctx, latencyUsers, 1, 2, deliver.BadgeMessages)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := r.leaveUnread(ctx, w); err != nil {
		return fmt.Errorf("create unread notifications: %w", err)
	}
	for _, reading := range []bool{false, true} {
		found := unreadLatency{Unread: r.Unread, Events: r.events(), Reading: reading}
		for round := range r.Rounds + 1 {
			var seen [latencyUsers]sinkReport
			for turn := range latencyUsers {
				user := (turn + round) % latencyUsers
				if seen[user], err = r.lightRound(ctx, w, user, reading); err != nil {
					return fmt.Errorf("measure latency: %w", err)
				}
			}
			if round == 0 {
				continue // warms up
			}
			found.None, found.Much = append(found.None, seen[userWithNone]), append(found.Much, seen[userWithMuch])
			r.progress("latency, receipts: %t, round %d of %d: p50 %s with none unread, %s with %d",
				reading, round, r.Rounds, brief(seen[userWithNone].P50), brief(seen[userWithMuch].P50), r.Unread)
		}
		r.report.Latency = append(r.report.Latency, found)
	}
	return nil
}

// leaveUnread sends notifications to a user who reads none of them. Most cause no poke: the
// pusher falls behind, and catches up with the newest only.
func (r *unreadRun) leaveUnread(ctx context.Context, w *world) error {
	r.progress("one user gets %d notifications that stay unread", r.Unread)
	if err := w.publishAll(ctx, r.Unread, func(done func(error)) { w.publishIn(w.rooms[userWithMuch], done) }); err != nil {
		return err
	}
	if err := w.settle(ctx, r.progress, func() int64 {
		s := w.d.Stats()
		return int64(r.Unread) - int64(s.Delivered-s.Badges+s.PassedOver) //nolint:gosec // counts of this run
	}); err != nil {
		return err
	}
	_, err := r.sink.report(ctx) // resets the counts
	return err
}

// lightRound publishes messages for one user at a steady rate. With reading it sends a
// receipt after the poke of each message; otherwise one receipt at the end.
func (r *unreadRun) lightRound(ctx context.Context, w *world, group int, reading bool) (sinkReport, error) {
	room, user := w.rooms[latencyUsers+group], w.member(group, 0)
	read := func() error { return w.read(ctx, user, room, w.latest(), "") }
	stored, told := make(chan error, r.events()), 0
	err := paced(ctx, r.events(), r.LightFor/time.Duration(r.events()), func() error {
		w.publishIn(room, func(err error) { stored <- err })
		if !reading {
			return nil
		}
		told++
		return errors.Join(r.sink.await(ctx, told), read())
	})
	for range r.events() {
		if err == nil {
			err = <-stored
		}
	}
	if err != nil {
		return sinkReport{}, err
	}
	seen, err := r.seen(ctx, r.events())
	if err == nil && !reading {
		err = w.cleared(ctx, seen.Received, read)
	}
	return seen, err
}

// seen returns the report of the sink once it has received n pokes.
func (r *unreadRun) seen(ctx context.Context, n int) (sinkReport, error) {
	if err := r.sink.await(ctx, n); err != nil {
		return sinkReport{}, err
	}
	seen, err := r.sink.report(ctx)
	r.report.count(n-seen.Received, seen.Duplicates)
	return seen, err
}
