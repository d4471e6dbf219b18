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

// settleIn creates the rooms and sets the pushers, and returns when every pusher gets
// pokes: there is no guarantee how soon a dispatcher knows a new pusher.
func (r *run) settleIn(ctx context.Context, w *world) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, room := range w.cast.rooms {
		group.Go(func() error { return w.home.makeRoom(ctx, room) })
	}
	for _, u := range w.cast.users {
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
		var owed []told
		for _, room := range w.cast.rooms {
			event := events.EventID(fmt.Sprintf("$warm-%d-%d", room.number, n))
			if err := w.home.say(ctx, room, event, speaker, map[events.UserID]bool{}); err != nil {
				return err
			}
			for _, u := range room.members {
				if !u.late {
					owed = append(owed, u.toldOf(event)...)
				}
			}
		}
		if w.awaitTold(ctx, owed, warmUpPatience, func(int) {}) == nil {
			w.hearWarmUps()
			return nil
		}
	}
	return errors.New("not all pushers get pokes")
}

// hearWarmUps records which users the warm-up messages notified: those who got a poke.
func (w *world) hearWarmUps() {
	for _, room := range w.cast.rooms {
		for _, u := range room.said {
			for _, member := range room.members {
				for _, t := range member.toldOf(u.event) {
					if len(w.rec.missing([]told{t})) == 0 {
						u.only[member.id] = true
					}
				}
			}
		}
	}
}

// awaitTold waits until all expected pokes have arrived.
func (w *world) awaitTold(ctx context.Context, owed []told, patience time.Duration, progress func(missing int)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for n := 0; ; n++ {
		owed = w.rec.missing(owed)
		if len(owed) == 0 {
			return nil
		}
		if n%100 == 50 {
			progress(len(owed))
		}
		if err := wait.For(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// calm waits until all expected pokes have arrived. Then it sends a last message in each
// room until everybody gets one. The checker reports what is still missing.
func (r *run) calm(ctx context.Context, w *world, h *history) error {
	waiting := func(missing int) { r.progress("waiting for %d pokes", missing) }
	owed := h.model.owed(w.cast)
	_ = w.awaitTold(ctx, owed, r.Patience, waiting)
	r.progress("%d pokes expected, %d missing; sending a last message in each room", len(owed), len(w.rec.missing(owed)))
	for n, began := 0, time.Now(); ; n++ {
		if err := w.sayLast(ctx, h, n); err != nil {
			return err
		}
		// The dispatchers may not know a late pusher yet.
		if w.awaitTold(ctx, h.lasts, lastPatience, waiting) == nil || time.Since(began) > r.Patience {
			return wait.For(ctx, aftermath)
		}
	}
}

// sayLast sends a message in each room, which must reach every pusher.
func (w *world) sayLast(ctx context.Context, h *history, n int) error {
	h.Last, h.lasts = time.Now(), nil
	for _, room := range w.cast.rooms {
		event := events.EventID(fmt.Sprintf("$last-%d-%d", room.number, n))
		if err := w.home.say(ctx, room, event, speaker, nil); err != nil {
			return err
		}
		for _, u := range room.members {
			h.lasts = append(h.lasts, u.toldOf(event)...)
		}
	}
	return nil
}
