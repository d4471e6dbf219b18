package match

import (
	"context"

	"poked/events"
	"poked/events/wait"
)

// readMarker is how far one member has read a room, as sequences of ROOMS. It only grows.
type readMarker struct {
	whole   uint64 // in all threads
	main    uint64 // in the main timeline
	threads map[events.EventID]uint64
}

// upTo returns how far the member has read the timeline or thread that read names.
func (k *readMarker) upTo(read events.Read) uint64 {
	switch {
	case read.Whole:
		return k.whole
	case read.Thread == "":
		return max(k.whole, k.main)
	}
	return max(k.whole, k.threads[read.Thread])
}

func (k *readMarker) set(read events.Read) {
	switch {
	case read.Whole:
		k.whole = max(k.whole, read.UpTo)
		for root, upTo := range k.threads {
			if upTo <= k.whole {
				delete(k.threads, root)
			}
		}
	case read.Thread == "":
		k.main = max(k.main, read.UpTo)
	default:
		if k.threads == nil {
			k.threads = map[events.EventID]uint64{}
		}
		k.threads[read.Thread] = max(k.threads[read.Thread], read.UpTo)
	}
}

// markRead writes how far a member has read a room, unless they had read it before, or
// nothing in it can have notified them.
func (m *Matcher) markRead(ctx context.Context, f *fanout, r *room, user events.UserID, read events.Read) error {
	k := r.markers[user]
	if k == nil {
		k = &readMarker{}
		// A member's own new event is beyond anything they had read before, so that need
		// not be loaded, unless the event is matched again.
		if read.UpTo < f.msg.Seq || f.msg.Replayed {
			if err := m.loadMarker(ctx, r, user, k); err != nil {
				return err
			}
		}
		r.markers[user] = k
	}
	// A replayed one may have been marked, and not stored.
	if before := k.upTo(read); read.UpTo < before || read.UpTo == before && !f.msg.Replayed {
		return nil
	}
	matters := r.lastNotifying.after(k, read) || f.msg.Replayed || m.cfg.EveryReceipt
	k.set(read)
	if !matters {
		return nil
	}
	return f.addRead(ctx, user, r.id, read)
}

func (m *Matcher) loadMarker(ctx context.Context, r *room, user events.UserID, k *readMarker) error {
	return wait.Until(ctx, wait.RetryPause, m.failed, func() error {
		reads, err := m.cfg.Conn.ReadOf(ctx, user, r.id)
		for _, read := range reads {
			k.set(read)
		}
		return err
	})
}
