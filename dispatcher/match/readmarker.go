package match

import (
	"context"

	"poked/events"
	"poked/events/wait"
)

// marker is how far one member has read a room, as sequences of ROOMS. It only
// grows.
type marker struct {
	whole   uint64 // in all threads
	main    uint64 // in the main timeline
	threads map[events.EventID]uint64
}

// upTo returns how far the member has read of what read speaks of.
func (k *marker) upTo(read events.Read) uint64 {
	switch {
	case read.Whole:
		return k.whole
	case read.Thread == "":
		return max(k.whole, k.main)
	}
	return max(k.whole, k.threads[read.Thread])
}

func (k *marker) set(read events.Read) {
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

// lastNotifying is which events of a room notified anybody.
type lastNotifying struct {
	since   uint64 // what came up to here is not known
	main    uint64 // the newest of the main timeline
	threads uint64 // the newest of the others
}

func (n *lastNotifying) add(seq uint64, thread events.EventID) {
	if thread == "" {
		n.main = max(n.main, seq)
	} else {
		n.threads = max(n.threads, seq)
	}
}

// after says whether anybody may have been notified, of what read speaks of, after
// what a member has read already.
func (n *lastNotifying) after(k *marker, read events.Read) bool {
	main, threads := max(k.whole, k.main), k.upTo(read)
	if read.Whole {
		threads = k.whole
	}
	inMain := main < max(n.since, n.main)
	inThreads := threads < max(n.since, n.threads)
	switch {
	case read.Whole:
		return inMain || inThreads
	case read.Thread == "":
		return inMain
	}
	return inThreads
}

// markRead has a member's log be rid of what they have read, unless they had read
// it before, or there can be nothing.
func (m *Matcher) markRead(ctx context.Context, f *fanout, r *room, user events.UserID, read events.Read) error {
	k := r.markers[user]
	if k == nil {
		k = &marker{}
		// What a member has read by sending an event is more than what they had
		// read before, unless that event comes again.
		if read.UpTo < f.msg.Seq || f.msg.Replayed {
			if err := m.loadMarker(ctx, r, user, k); err != nil {
				return err
			}
		}
		r.markers[user] = k
	}
	// One that comes again may have been taken in, and not stored.
	if before := k.upTo(read); read.UpTo < before || read.UpTo == before && !f.msg.Replayed {
		return nil
	}
	told := r.lastNotifying.after(k, read) || f.msg.Replayed || m.cfg.EveryReceipt
	k.set(read)
	if !told {
		return nil
	}
	return f.addRead(ctx, user, r.id, read)
}

func (m *Matcher) loadMarker(ctx context.Context, r *room, user events.UserID, k *marker) error {
	return wait.Until(ctx, wait.RetryPause, m.failed, func() error {
		reads, err := m.cfg.Conn.ReadOf(ctx, user, r.id)
		for _, read := range reads {
			k.set(read)
		}
		return err
	})
}
