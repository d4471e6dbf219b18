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
	// markedBy is where the member marked the room as unread, as a sequence of ROOMS, and 0 if it
	// was not since it was opened, or was read since: the first read after that is always written.
	markedBy uint64
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
		upTo, known := k.threads[read.Thread]
		if !known {
			read.Thread = copyOf(read.Thread)
		}
		k.threads[read.Thread] = max(upTo, read.UpTo)
	}
}

// markerOf returns how far a member has read the room.
func (r *room) markerOf(user events.UserID) *readMarker {
	k := r.markers[user]
	if k == nil {
		k = &readMarker{}
		r.markers[copyOf(user)] = k
	}
	return k
}

// markRead writes how far a member has read a room, unless they had read it before, or
// nothing in it can have notified them, and their client does not ask for it (MSC4234).
func (m *Matcher) markRead(ctx context.Context, f *fanout, r *room, read events.Read) error {
	k := r.markerOf(read.UserID)
	takesBack := k.markedBy > 0 && read.TakesBack(k.markedBy)
	asked := takesBack || read.Cleared
	// A replayed one may have been marked, and not stored.
	if before := k.upTo(read); !asked && (read.UpTo < before || read.UpTo == before && !f.msg.Replayed) {
		return nil
	}
	matters := r.lastNotifying.after(k, read) || f.msg.Replayed || m.cfg.EveryReceipt || asked
	k.set(read)
	if takesBack {
		k.markedBy = 0
	}
	if !matters {
		return nil
	}
	return f.addRead(ctx, read)
}
