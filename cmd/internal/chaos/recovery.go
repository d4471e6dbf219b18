package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/wait"
)

// What happens before the first and after the last fault.

const (
	// warmUps is how many times a message is sent in each room until all pushers get it,
	// and warmUpPatience how long they may take each time.
	warmUps        = 60
	warmUpPatience = 2 * time.Second
	// lastPatience is how long the last messages may take before new ones are sent.
	lastPatience = 5 * time.Second
	// aftermath is how long unexpected pokes may still arrive.
	aftermath = 3 * time.Second
)

// setUp creates the rooms and sets the pushers, and returns when every pusher gets
// pokes: there is no guarantee how soon a dispatcher knows a new pusher.
func (r *run) setUp(ctx context.Context, w *world) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, room := range w.people.rooms {
		group.Go(func() error { return w.home.makeRoom(ctx, room) })
	}
	for _, u := range w.people.users {
		if !u.late {
			group.Go(func() error { return w.setPushers(ctx, u) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	r.progress("all users have a pusher and a room; waiting until all pushers get pokes")
	return w.warmUp(context.WithoutCancel(ctx))
}

// warmUp sends messages in every room until all pushers get them.
func (w *world) warmUp(ctx context.Context) error {
	for n := range warmUps {
		var expected []delivery
		for _, room := range w.people.rooms {
			event := events.EventID(fmt.Sprintf("$warm-%d-%d", room.number, n))
			if err := w.home.say(ctx, room, event, speaker, map[events.UserID]bool{}); err != nil {
				return err
			}
			for _, u := range room.members {
				if !u.late {
					expected = append(expected, u.deliveriesOf(event)...)
				}
			}
		}
		if w.awaitDeliveries(ctx, expected, warmUpPatience, func(int) {}) == nil {
			w.recordWarmUps()
			return nil
		}
	}
	return errors.New("not all pushers get pokes")
}

// recordWarmUps records which users the warm-up messages notified: those who got a poke.
func (w *world) recordWarmUps() {
	for _, room := range w.people.rooms {
		for _, u := range room.said {
			for _, member := range room.members {
				for _, d := range member.deliveriesOf(u.event) {
					if len(w.rec.missing([]delivery{d})) == 0 {
						u.only[member.id] = true
					}
				}
			}
		}
	}
}

// awaitDeliveries waits until all expected pokes have arrived.
func (w *world) awaitDeliveries(ctx context.Context, expected []delivery, patience time.Duration, progress func(missing int)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for n := 0; ; n++ {
		expected = w.rec.missing(expected)
		if len(expected) == 0 {
			return nil
		}
		if n%100 == 50 {
			progress(len(expected))
		}
		if err := wait.For(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// awaitRecovery waits until all expected pokes have arrived. Then it sends last messages in each
// room until every pusher gets one. The checker reports what is still missing.
func (r *run) awaitRecovery(ctx context.Context, w *world, h *history) error {
	waiting := func(missing int) { r.progress("waiting for %d pokes", missing) }
	expected := h.model.expected(w.people)
	_ = w.awaitDeliveries(ctx, expected, r.Patience, waiting)
	r.progress("%d pokes expected, %d missing; sending a last message in each room", len(expected), len(w.rec.missing(expected)))
	for n, began := 0, time.Now(); ; n++ {
		if err := w.sayLast(ctx, h, n); err != nil {
			return err
		}
		// The dispatchers may not know a late pusher yet.
		if w.awaitDeliveries(ctx, h.lasts, lastPatience, waiting) == nil || time.Since(began) > r.Patience {
			return wait.For(ctx, aftermath)
		}
	}
}

// sayLast sends a message in each room, which must reach every pusher.
func (w *world) sayLast(ctx context.Context, h *history, n int) error {
	h.Last, h.lasts = time.Now(), nil
	for _, room := range w.people.rooms {
		event := events.EventID(fmt.Sprintf("$last-%d-%d", room.number, n))
		if err := w.home.say(ctx, room, event, speaker, nil); err != nil {
			return err
		}
		for _, u := range room.members {
			h.lasts = append(h.lasts, u.deliveriesOf(event)...)
		}
	}
	return nil
}
