package directory

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"poked/events"
)

// partition is what the directory keeps of one partition of users. The directory's mutex
// guards it.
//
//	ours ◀── Gain: the partition is read from the bucket, while the watch goes on
//	  └────▶ Lose: full records become light, one shard after another
//
// While a partition is gained, its users arrive from two sources that run at different
// speeds: the watch and the reading. Each delivers in the order of revisions, so a value
// is ignored if the other source already delivered something newer: from the watch while
// it is behind the reading, and from the reading for a user about whom the watch delivered
// a newer value.
type partition struct {
	ours    bool
	light   int                      // users whose record is light
	read    uint64                   // revision up to which the partition was read
	watched map[events.UserID]uint64 // revisions from the watch while the partition is read; else nil
}

// isNewFromWatch reports whether a value from the watch is news.
func (p *partition) isNewFromWatch(set *events.UserPushers) bool {
	if set.Revision <= p.read && p.read > 0 {
		return false
	}
	if p.watched != nil {
		p.watched[set.UserID] = set.Revision
	}
	return true
}

// isNewFromReading reports whether a value from the reading is news.
func (p *partition) isNewFromReading(set *events.UserPushers) bool {
	p.read = max(p.read, set.Revision)
	return set.Revision > p.watched[set.UserID]
}

// count adds n to the number of light records if a record is light.
func (p *partition) count(encoded []byte, n int) {
	if !newReader(encoded).full {
		p.light += n
	}
}

// readTwice is how often a partition is read if some of its users are missing: the reading
// may miss a user who changes meanwhile. A user who is not in the bucket at all is missing
// the second time as well.
const readTwice = 2

// Gain makes a partition ours, and returns when the pushers of all its users are known:
// deliver must not begin there before. read is [stream.Conn.PushersIn]. After an error the
// partition is as it was, and Gain may be called again. Only one goroutine at a time may
// gain or lose a given partition.
func (d *Directory) Gain(ctx context.Context, part int, read func(context.Context, int) iter.Seq2[events.UserPushers, error]) error {
	if !d.beginGain(part) {
		return nil
	}
	for range readTwice {
		for set, err := range read(ctx, part) {
			if err != nil {
				d.Lose(part)
				return fmt.Errorf("read the pushers of partition %d: %w", part, err)
			}
			d.update(&set, (*partition).isNewFromReading)
		}
		if d.isComplete(part) {
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.partitions[part].watched = nil
	return nil
}

// beginGain makes the records of a partition full from now on, as they arrive. It reports
// whether the partition has to be read for that.
func (d *Directory) beginGain(part int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := &d.partitions[part]
	if p.ours {
		return false
	}
	p.ours, p.watched = true, map[events.UserID]uint64{}
	return true
}

// isComplete reports whether all records of a partition are full.
func (d *Directory) isComplete(part int) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.partitions[part].light == 0
}

// Lose keeps only what match needs of the users of some partitions. Deliver must have
// ended there.
func (d *Directory) Lose(parts ...int) {
	d.mu.Lock()
	for _, part := range parts {
		d.partitions[part].ours, d.partitions[part].watched = false, nil
	}
	d.mu.Unlock()
	for i := range d.users.shards {
		d.lighten(&d.users.shards[i], parts)
	}
}

// lighten makes the records of some partitions light, in one shard. The lock is held for
// one shard at a time, so that match never waits longer than that takes.
func (d *Directory) lighten(s *shard, parts []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	isFull := func(encoded []byte) (part int, yes bool) {
		r := newReader(encoded)
		return r.part, r.full && slices.Contains(parts, r.part)
	}
	found := false
	s.each(func(_, encoded []byte) {
		_, yes := isFull(encoded)
		found = found || yes
	})
	if !found {
		return
	}
	d.users.rewrite(s, func(encoded []byte) []byte {
		part, yes := isFull(encoded)
		if !yes {
			return encoded
		}
		d.uncount(&d.partitions[part], encoded)
		d.partitions[part].light++
		d.buffer = appendLightened(d.buffer[:0], encoded)
		return d.buffer
	})
}
