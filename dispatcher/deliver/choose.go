package deliver

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"poked/events"
)

// choose chooses what a lane sends next: up to readingLimit notifications after its position,
// or, if it is more than the limit behind, the newest of each room.
func (c *catchUpReader) choose(ctx context.Context, a *ask) (choice, error) {
	if a.after >= a.target {
		return choice{end: a.target, thinTo: a.thinTo}, nil // only the badge is left
	}
	all, more, err := c.places(ctx, a)
	for try := 0; errors.Is(err, errNotKnown) && try < learnTries; try++ { // it was forgotten, or something is removed
		if err = c.d.learnUnread(ctx, a.user, a.target); err == nil {
			all, more, err = c.places(ctx, a)
		}
	}
	if err != nil {
		return choice{}, err
	}
	if a.thinTo > a.after {
		limit := min(a.target, a.thinTo)
		newest, err := c.newestWanted(ctx, a, all, limit)
		return cut(newest, limit, a.thinTo), err
	}
	within := upTo(all, a.target)
	total := len(within) + more
	if total <= c.limit || !a.passesOver {
		return cut(within, a.target, 0), nil
	}
	newest, err := c.newestWanted(ctx, a, all, a.target)
	chosen := cut(newest, a.target, a.target)
	chosen.passedOver = total - len(newest)
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

// errNotKnown reports that an inbox was forgotten before it was used.
var errNotKnown = errors.New("what the user has unread is not known any more")

// places returns where the notifications of a user are after the lane's position, in order,
// those beyond its target included. Of a thread with too many of which only the newest is
// known it returns that one, and counts the others as more.
func (c *catchUpReader) places(ctx context.Context, a *ask) (all []placeIn, more int, err error) {
	all, unknown, err := c.knownPlaces(a)
	for i := 0; i < len(unknown) && err == nil; i++ {
		var some []placeIn
		var n int
		some, n, err = c.search(ctx, a, &unknown[i])
		all, more = append(all, some...), more+n
	}
	slices.SortFunc(all, func(x, y placeIn) int { return cmp.Compare(x.seq, y.seq) })
	return slices.CompactFunc(all, func(x, y placeIn) bool { return x.seq == y.seq }), more, err
}

// knownPlaces returns what the user's inbox knows, and the threads of which only the newest
// of several notifications is known.
func (c *catchUpReader) knownPlaces(a *ask) (all []placeIn, unknown []thread, err error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	in := &c.d.recipient(a.user).unread
	if !c.d.isUsable(in) {
		return nil, nil, errNotKnown
	}
	in.used = true
	all, unknown = in.after(a.after)
	return all, unknown, nil
}

// search searches the log for the notifications of a thread of which only the newest is
// known. If they are more than the limit it returns that one, and how many the others are; or
// the oldest, for a lane that receives all of them.
func (c *catchUpReader) search(ctx context.Context, a *ask, t *thread) (all []placeIn, more int, err error) {
	limit := c.limit + 1
	switch {
	case !a.passesOver:
		limit = readingLimit + 1 // one more than it receives now
	case t.last.partial:
		limit = int(t.older) //nolint:gosec // a count
	}
	page, more, err := c.d.Conn.NotificationsIn(ctx, a.user, t.room, t.thread, t.last.seq, a.after, limit)
	for _, logged := range page {
		if logged.Seq > t.last.seq {
			break // known one by one
		}
		p := placeIn{place{seq: logged.Seq, partial: true}, t.room}
		if n, err := events.ParseNotification(logged.Data); err == nil {
			p.place = placeOf(logged.Seq, &n)
		}
		all = append(all, p)
	}
	if n := len(all); a.passesOver && n > c.limit && !t.last.partial { // the rest includes those that are known one by one
		return []placeIn{{t.last, t.room}}, n - 1 + max(more-len(t.since), 0), err
	}
	return all, 0, err
}

// newestWanted returns, for each room, the newest notification up to a sequence that is for
// the lane's pusher. A room has none if a newer one beyond that sequence, in any of its
// threads, is for the pusher too: that one will be sent.
func (c *catchUpReader) newestWanted(ctx context.Context, a *ask, all []placeIn, limit uint64) (newest []placeIn, err error) {
	decided := map[events.RoomID]bool{}
	read := map[uint64]*events.Notification{}
	for i := len(all) - 1; i >= 0; i-- {
		p := all[i]
		if decided[p.room] {
			continue
		}
		if p.partial {
			if _, known := read[p.seq]; !known {
				if read, err = c.fetch(ctx, partialBefore(all[:i+1], decided)); err != nil {
					return nil, err
				}
			}
			if n := read[p.seq]; n == nil || !a.pusher.Wants(n) {
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

// partialBefore returns the sequences of the last few notifications of a list that may not be
// for each pusher, of rooms that are not decided.
func partialBefore(all []placeIn, decided map[events.RoomID]bool) (seqs []uint64) {
	for _, p := range slices.Backward(all) {
		if p.partial && !decided[p.room] {
			if seqs = append(seqs, p.seq); len(seqs) == readingLimit {
				break
			}
		}
	}
	return seqs
}
