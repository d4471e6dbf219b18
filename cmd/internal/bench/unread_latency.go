package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"poked/dispatcher/deliver"
)

// The users of the latency measurement are groups of one. Each has two rooms: one
// with what they leave unread, and one that is measured in.
const (
	userWithMuch = iota
	userWithNone
	latencyUsers
)

// latencies measures how soon a user with much unread is told, and one with none.
func (r *unreadRun) latencies(ctx context.Context) (err error) {
	w, err := r.world(ctx, latencyUsers, 1, 2, deliver.BadgeMessages)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := r.leaveUnread(ctx, w); err != nil {
		return fmt.Errorf("leave much unread: %w", err)
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

// leaveUnread has a user be notified of much, and read nothing of it. Of most they
// are not told: their pusher falls behind and catches up with the newest.
func (r *unreadRun) leaveUnread(ctx context.Context, w *world) error {
	r.progress("a user gets %d notifications to leave unread", r.Unread)
	if err := w.publishAll(ctx, r.Unread, func(done func(error)) { w.publishIn(w.rooms[userWithMuch], done) }); err != nil {
		return err
	}
	// How many pokes that is nobody knows: the sink says when no more come.
	if err := r.sink.await(ctx, math.MaxInt); err != nil {
		return err
	}
	if stored := w.d.Stats().Notifications; stored < uint64(r.Unread) { //nolint:gosec // it is not negative
		return fmt.Errorf("only %d notifications are stored", stored)
	}
	_, err := r.sink.report(ctx) // begins anew
	return err
}

// lightRound publishes messages for one user at a steady rate. If the user is
// reading, each comes after a receipt for the one before, which they were told of;
// if not, they read all in the end.
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

// seen returns what the sink has seen when it has seen n pokes.
func (r *unreadRun) seen(ctx context.Context, n int) (sinkReport, error) {
	if err := r.sink.await(ctx, n); err != nil {
		return sinkReport{}, err
	}
	seen, err := r.sink.report(ctx)
	r.report.count(n-seen.Received, seen.Duplicates)
	return seen, err
}
