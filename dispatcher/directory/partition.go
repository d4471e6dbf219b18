package directory

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"poked/events"
	"poked/events/stream"
)

// share is what the directory has to do with one partition of users. The
// directory's mutex guards it.
//
//	ours ◀── gain: the partition is read from the bucket, beside the watch that tells all changes
//	  └────▶ lose: entries become light, shelf by shelf
//
// A partition that is being gained is told by two, in their own time, and what
// they tell has revisions. Each of them tells in order of these, so who is behind
// has no news: not the watch while it is behind the reading, nor the reading for
// a user of whom the watch has told something newer.
type share struct {
	ours      bool
	light     int                      // users whose entry is light
	read      uint64                   // revision up to which the partition was read
	delivered map[events.UserID]uint64 // revisions told by the watch while the partition is read; else nil
}

// hears says whether what the watch tells is news.
func (s *share) hears(set *events.UserPushers) bool {
	if set.Revision <= s.read && s.read > 0 {
		return false
	}
	if s.delivered != nil {
		s.delivered[set.UserID] = set.Revision
	}
	return true
}

// reads says whether what is read is news.
func (s *share) reads(set *events.UserPushers) bool {
	s.read = max(s.read, set.Revision)
	return set.Revision > s.delivered[set.UserID]
}

// count counts an entry in, or out.
func (s *share) count(entry []byte, n int) {
	r := reader{rest: entry}
	if _, full := r.head(); !full {
		s.light += n
	}
}

// readTwice is how often a partition is read if its users are not all there: one
// who changes while it is read may be passed over. Whoever is not in the bucket
// at all is missing the second time as well.
const readTwice = 2

// Gain makes a partition ours, and returns when the pushers of all its users are
// known: only then may deliver begin there. read is [events.Conn.PushersIn]. With
// an error the partition is as before, to be tried again. A partition is gained or
// lost by one goroutine at a time.
func (d *Directory) Gain(ctx context.Context, part int, read func(context.Context, int) iter.Seq2[events.UserPushers, error]) error {
	if !d.expect(part) {
		return nil
	}
	for range readTwice {
		for set, err := range read(ctx, part) {
			if err != nil {
				d.Lose(part)
				return fmt.Errorf("read the pushers of partition %d: %w", part, err)
			}
			d.enter(&set, (*share).reads)
		}
		if d.complete(part) {
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shares[part].delivered = nil
	return nil
}

// expect has full entries made for the users of a partition from now on. It
// returns whether there is anything to read for that.
func (d *Directory) expect(part int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &d.shares[part]
	if s.ours {
		return false
	}
	s.ours, s.delivered = true, map[events.UserID]uint64{}
	return true
}

// complete says whether all entries of a partition are full.
func (d *Directory) complete(part int) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.shares[part].light == 0
}

// Lose keeps of the users of some partitions only what match needs. Deliver must
// have come to its end there.
func (d *Directory) Lose(parts ...int) {
	d.mu.Lock()
	for _, part := range parts {
		d.shares[part].ours, d.shares[part].delivered = false, nil
	}
	d.mu.Unlock()
	for i := range d.users.all {
		d.lightenShelf(&d.users.all[i], parts)
	}
}

// lightenShelf makes the entries of one shelf light that belong to some
// partitions. Match waits no longer than that takes.
func (d *Directory) lightenShelf(s *packedShard, parts []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	heavy := func(entry []byte) (part int, yes bool) {
		r := reader{rest: entry}
		part, full := r.head()
		return part, full && slices.Contains(parts, part)
	}
	found := false
	s.records(func(entry []byte) {
		_, yes := heavy(entry)
		found = found || yes
	})
	if !found {
		return
	}
	d.users.rewrite(s, func(entry []byte) []byte {
		part, yes := heavy(entry)
		if !yes {
			return entry
		}
		d.forget(&d.shares[part], entry)
		d.shares[part].light++
		d.entry = lighten(d.entry[:0], entry)
		return d.entry
	})
}

// Watch has the directory follow the bucket of pushers until ctx ends or the
// watch fails, see [events.Conn.WatchPushers].
func (d *Directory) Watch(ctx context.Context, conn *stream.Conn, ready func()) error {
	d.anew()
	return conn.WatchPushers(ctx, d.Apply, func() {
		d.loaded()
		ready()
	})
}

// loaded is called when everything has been told: from now on nothing up to the newest
// revision is unknown.
func (d *Directory) loaded() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard.all = true
}

// anew is called before everything is told anew: it may be by another bucket,
// whose revisions have begun anew as well.
func (d *Directory) anew() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for part := range d.shares {
		d.shares[part].read = 0
	}
	d.heard.revision, d.heard.all = 0, false
}
