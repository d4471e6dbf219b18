package match

import (
	"context"

	"poked/events"
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
func (m *Matcher) markRead(ctx context.Context, f *fanout, r *room, read events.Read) error {
	k := r.markers[read.UserID]
	if k == nil {
		k = &readMarker{}
		r.markers[read.UserID] = k
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
	return f.addRead(ctx, read)
}
