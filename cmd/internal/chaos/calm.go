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

// What happens in the quiet before and after the faults.

const (
	// warmUps is how often everybody is said something until all have heard it, and
	// warmUpPatience how long they have each time.
	warmUps        = 60
	warmUpPatience = 2 * time.Second
	// lastPatience is how long a last thing said has, until another one is.
	lastPatience = 5 * time.Second
	// aftermath is how long something that nobody waits for may still come.
	aftermath = 3 * time.Second
)

// settleIn makes the rooms and sets the pushers, and returns when every pusher
// is told what is said: nobody promises how soon a dispatcher knows a pusher
// that was just set.
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
	r.progress("everybody has a pusher and is in a room; waiting until all are told what is said")
	return w.warmUp(context.WithoutCancel(ctx))
}

// warmUp says something in every room until all pushers are told of it.
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
	return errors.New("not all pushers are told of what is said")
}

// hearWarmUps notes whom the warm-ups notified: those who were told of them.
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

// awaitTold waits until all that is owed was told.
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

// calm waits until all that is owed was told, and then says one last thing in each
// room, until everybody is told of it. What is still missing then is for the
// checker to say.
func (r *run) calm(ctx context.Context, w *world, h *history) error {
	waiting := func(missing int) { r.progress("waiting for %d pokes", missing) }
	owed := h.model.owed(w.cast)
	_ = w.awaitTold(ctx, owed, r.Patience, waiting)
	r.progress("%d pokes were owed, %d are missing; saying one last thing in each room", len(owed), len(w.rec.missing(owed)))
	for n, began := 0, time.Now(); ; n++ {
		if err := w.sayLast(ctx, h, n); err != nil {
			return err
		}
		// A pusher that came late may still be on its way to the dispatchers.
		if w.awaitTold(ctx, h.lasts, lastPatience, waiting) == nil || time.Since(began) > r.Patience {
			return wait.For(ctx, aftermath)
		}
	}
}

// sayLast says something in each room, which everybody is to be told.
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
