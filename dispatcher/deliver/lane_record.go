package deliver

import (
	"errors"

	"poked/dispatcher/directory"
	"poked/events/stream"
)

// backlogRecord is what BACKLOG is to say of a lane. Writes go out one at a time; a
// change while one is out is written after it.
type backlogRecord struct {
	entry   *stream.BacklogRecord // nil as long as there was nothing to write
	covers  bool                  // what stands there stands before all that the lane has not told
	writing bool
	stale   bool    // the bucket is to say something else than what is being written
	held    []*item // done once the lag that covers them is stored
	out     []*item // held when the write that is out began
}

// stands reports whether the bucket may have an entry.
func (r *backlogRecord) stands() bool { return r.writing || r.entry != nil && r.entry.Stands() }

// cover keeps an item of a lagging lane open until the bucket has an entry:
// without one a successor would not know that it was never told.
func (r *backlogRecord) cover(it *item) {
	if !r.covers {
		it.waiting++
		r.held = append(r.held, it)
	}
}

// releaseCovered lets go of what came since the write began, and what the entry
// stands before; not of a badge, which is another word in it.
func (r *backlogRecord) releaseCovered() {
	kept := r.held[:0]
	for _, it := range r.held {
		if it.badge {
			kept = append(kept, it)
		} else {
			r.out = append(r.out, it)
		}
	}
	clear(r.held[len(kept):])
	r.held = kept
}

// record returns the record of a lane in BACKLOG, which was read at a revision, or 0.
func (d *Deliverer) record(p *directory.Pusher, revision uint64) *stream.BacklogRecord {
	return d.Conn.BacklogRecord(d.Worker, p.ID, p.User, revision)
}

// save makes the bucket say, soon, how the lane stands.
func (l *lane) save() {
	switch {
	case l.d.ended:
	case l.record.writing:
		l.record.stale = true
	default:
		l.d.backlog.add(l)
	}
}

// beginSave returns what is to be written of the lane, if anything.
func (l *lane) beginSave() (w backlogWrite, ok bool) {
	r := &l.record
	if l.lag == nil && !r.stands() {
		r.out, r.held = r.held, nil
		l.settleRecord()
		return w, false
	}
	if r.entry == nil {
		r.entry = l.d.record(l.pusher, 0)
	}
	r.writing = true
	r.out, r.held = r.held, nil
	l.d.backlog.writing++
	w = backlogWrite{lane: l, gone: l.lag == nil}
	if w.gone {
		r.covers = false
	} else {
		w.backlog = l.lag.backlog(l.pusher.User, l.d.Gates.pausedUntil(l.lag.gate))
	}
	return w, true
}

// saved takes in the answer to a write. What is not stored is written again with the
// next tick, but for what is another worker's by now: then so is the partition.
func (l *lane) saved(put bool, err error) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	r := &l.record
	again := r.stale
	r.writing, r.stale = false, false
	l.d.backlog.writing--
	if err != nil {
		r.held, r.out = append(r.out, r.held...), nil
		l.notSaved(err)
		return
	}
	if r.covers = put; put {
		r.releaseCovered()
	}
	if again {
		l.save()
	}
	l.settleRecord()
}

// settleRecord releases what the record has covered, or what needs none any more.
func (l *lane) settleRecord() {
	for _, it := range l.record.out {
		l.d.release(it)
	}
	l.record.out = nil
	if _, due := l.d.backlog.due[l]; l.gone && !due {
		delete(l.d.ending, l.pusher.ID)
	}
}

func (l *lane) notSaved(err error) {
	conflict := new(stream.ConflictError)
	switch {
	case !errors.As(err, &conflict):
		l.d.Log.Warn("backlog not stored, trying again", "user_id", l.pusher.User, "pusher", l.pusher.ID, "error", err)
	case conflict.Nothing(): // the bucket was made anew
		l.record.entry.Adopt(conflict)
		l.record.covers = false
	default:
		l.d.fence(conflict)
		return
	}
	l.d.backlog.later[l] = struct{}{}
}
