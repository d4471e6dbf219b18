package deliver

import (
	"cmp"
	"context"
	"slices"
	"time"

	"poked/events"
)

// placeIn is where an unread notification is.
type placeIn struct {
	seq     uint64 // in NOTIFICATIONS
	roomSeq uint64 // of its event, in ROOMS
	flags   events.InboxFlags
	hash    uint32 // of the event id
	room    events.RoomID
}

func comparePlaces(p, q placeIn) int { return cmp.Compare(p.seq, q.seq) }

// choose chooses what a lane sends next: up to readingLimit notifications after its position,
// or, if it is more than the limit behind, the newest of each room.
func (c *catchUpReader) choose(ctx context.Context, a *ask) (choice, error) {
	if a.after >= a.target {
		return choice{end: a.target, thinTo: a.thinTo}, nil // only the badge is left
	}
	all, more, olderTo, err := c.places(a)
	if err != nil {
		return choice{}, err
	}
	if olderTo <= a.olderTo { // they are settled
		more = 0
	}
	if a.thinTo > a.after {
		limit := min(a.target, a.thinTo)
		newest, err := c.newestWanted(ctx, a, all, limit)
		return cut(newest, limit, a.thinTo), err
	}
	within := upTo(all, a.target)
	total := len(within) + more
	if total <= c.limit || !a.passesOver {
		chosen := cut(within, a.target, 0)
		chosen.passedOver, chosen.olderTo = more, olderTo // nobody knows any more where they are
		return chosen, nil
	}
	newest, err := c.newestWanted(ctx, a, all, a.target)
	chosen := cut(newest, a.target, a.target)
	chosen.passedOver, chosen.olderTo = total-len(newest), olderTo
	return chosen, err
}

// cut returns the choice of as many notifications as a lane may keep. end is the sequence up
// to which the list is complete.
func cut(list []placeIn, end, thinTo uint64) choice {
	if len(list) > readingLimit {
		list = list[:readingLimit]
		end = list[readingLimit-1].seq
	}
	return choice{places: list, end: end, thinTo: thinTo}
}

// upTo returns the part of an ordered list up to a sequence.
func upTo(list []placeIn, seq uint64) []placeIn {
	n, _ := slices.BinarySearchFunc(list, seq+1, func(p placeIn, seq uint64) int { return cmp.Compare(p.seq, seq) })
	return list[:n]
}

// places returns where the notifications of a user are after the lane's position, in order,
// those beyond its target included, and how many older ones there are that are only a
// number, the newest of them at olderTo.
func (c *catchUpReader) places(a *ask) (all []placeIn, more int, olderTo uint64, err error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	in := c.d.inboxes[a.user]
	if in == nil {
		return nil, 0, 0, errNotKnown
	}
	in.used = true
	c.d.expire(a.user, in)
	all, more, olderTo = in.after(a.after)
	return all, more, olderTo, nil
}

// newestWanted returns, for each room, the newest notification up to a sequence that is for
// the lane's pusher. A room has none if a newer one beyond that sequence, in any of its
// threads, is for the pusher too: that one will be sent.
func (c *catchUpReader) newestWanted(ctx context.Context, a *ask, all []placeIn, limit uint64) (newest []placeIn, err error) {
	now, decided := time.Now(), map[events.RoomID]bool{}
	asked := map[uint64]bool{}
	read := bodies{}
	for i := len(all) - 1; i >= 0; i-- {
		p := all[i]
		if decided[p.room] {
			continue
		}
		if p.flags&events.InboxPartial != 0 {
			if !asked[p.seq] {
				some := partialBefore(all[:i+1], decided)
				if read, err = c.d.fetch(ctx, some); err != nil {
					return nil, err
				}
				for _, one := range some {
					asked[one.seq] = true
				}
			}
			if n := read.of(a.user, p); n == nil || !a.pusher.Wants(n) || n.IsOver(now) {
				continue
			}
		}
		if decided[p.room] = true; p.seq <= limit {
			newest = append(newest, p)
		}
	}
	slices.Reverse(newest)
	return newest, nil
}

// partialBefore returns the last few notifications of a list that may not be for each
// pusher, of rooms that are not decided.
func partialBefore(all []placeIn, decided map[events.RoomID]bool) (some []placeIn) {
	for _, p := range slices.Backward(all) {
		if p.flags&events.InboxPartial != 0 && !decided[p.room] {
			if some = append(some, p); len(some) == readingLimit {
				break
			}
		}
	}
	return some
}
