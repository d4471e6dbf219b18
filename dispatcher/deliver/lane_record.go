package deliver

import (
	"errors"

	"poked/dispatcher/directory"
	"poked/events/stream"
)

// backlogRecord is a lane's record in BACKLOG. One write is in flight at a time; a change
// meanwhile is written after it.
type backlogRecord struct {
	entry   *stream.BacklogRecord // nil until there was something to write
	covers  bool                  // its stored position is before everything that the lane has not sent
	due     bool                  // in backlogWriter.due
	writing bool
	stale   bool    // the lane changed since the write in flight began
	held    []*item // done once a record that covers them is stored
	out     []*item // held when the write in flight began
}

// stands reports whether the bucket may hold the record.
func (r *backlogRecord) stands() bool { return r.writing || r.entry != nil && r.entry.Exists() }

// cover keeps an item of a lagging lane open until the record is stored: without it the next
// owner would not know that the item was never sent.
func (r *backlogRecord) cover(it *item) {
	if !r.covers {
		it.waiting++
		r.held = append(r.held, it)
	}
}

// releaseCovered releases what arrived since the write began and lies beyond the stored
// position. A badge is a change of the record, and not covered.
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

// record returns the record of a pusher in BACKLOG, as read at a revision, or 0.
func (d *Deliverer) record(p *directory.Pusher, revision uint64) *stream.BacklogRecord {
	return d.Conn.BacklogRecord(d.Worker, p.ID, p.User, revision)
}

// save schedules a write of the lane's record.
func (l *lane) save() {
	switch {
	case l.d.ended:
	case l.record.writing:
		l.record.stale = true
	default:
		l.d.backlog.add(l)
	}
}

// beginSave returns the write of the lane's record, if one is needed.
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
		if l.heir == nil {
			w.backlog.Handed = l.handed
		}
	}
	return w, true
}

// saved handles the result of a write. What is not stored is written again with the next
// tick, unless another worker wrote the record: then it owns the partition too.
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
	if put && !again && l.from != nil && !l.from.scheduled && l.lag != nil {
		l.tookOver()
	}
	l.settleRecord()
}

// settleRecord releases what the record covers, or what needs no record any more.
func (l *lane) settleRecord() {
	for _, it := range l.record.out {
		l.d.release(it)
	}
	l.record.out = nil
	if l.gone && !l.record.due {
		delete(l.d.ending, l.pusher.ID)
	}
}

// notSaved handles a write that failed.
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
