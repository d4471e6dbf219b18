package deliver

import (
	"context"
	"errors"
	"sync"

	"poked/dispatcher/directory"
	"poked/events"
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

// backlogWriter writes the records of the lanes of one partition. Its goroutine holds
// no mutex while it publishes: a connection to NATS that takes nothing stops that
// goroutine and no slot.
//
//	save ──▶ due ──▶ take: what to write, under the mutex ──▶ publish ──▶ saved
//	          ▲                                                             │
//	          └────── tick ◀── later ◀── not stored, or no lease ◀──────────┘
type backlogWriter struct {
	d    *Deliverer
	some chan struct{}

	// The deliverer's mutex guards these.
	due     map[*lane]struct{}
	later   map[*lane]struct{} // due with the next tick
	writing int                // writes without an answer
}

func newBacklogWriter(d *Deliverer) backlogWriter {
	return backlogWriter{d: d, some: make(chan struct{}, 1), due: map[*lane]struct{}{}, later: map[*lane]struct{}{}}
}

// add makes a lane's record be written. The caller holds the mutex, as for the next
// two.
func (w *backlogWriter) add(l *lane) {
	w.due[l] = struct{}{}
	delete(w.later, l)
	select {
	case w.some <- struct{}{}:
	default: // it is about to look
	}
}

// again makes due what could not be written before.
func (w *backlogWriter) again() {
	for l := range w.later {
		w.add(l)
	}
}

// idle reports whether nothing is being written, or could be.
func (w *backlogWriter) idle() bool { return w.writing == 0 && len(w.due) == 0 }

// start writes until stop is called, which waits for it.
func (w *backlogWriter) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

func (w *backlogWriter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.some:
		}
		for more := true; more; {
			var writes []backlogWrite
			writes, more = w.take()
			for i := range writes {
				writes[i].publish()
			}
		}
	}
}

// takeAtOnce is how many records are taken down while the mutex is held.
const takeAtOnce = 256

// backlogWrite is a write of a lane's record as it is taken down.
type backlogWrite struct {
	lane    *lane
	backlog events.Backlog
	gone    bool
}

func (w *backlogWrite) publish() {
	l := w.lane
	if w.gone {
		l.record.entry.Delete(func(err error) { l.saved(false, err) })
		return
	}
	l.record.entry.Put(w.backlog, func(err error) { l.saved(true, err) })
}

// take returns some of what is due, and reports whether there is more.
func (w *backlogWriter) take() (writes []backlogWrite, more bool) {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	held := w.d.Gates.lease.Held()
	for l := range w.due {
		if len(writes) == takeAtOnce {
			return writes, true
		}
		delete(w.due, l)
		switch {
		case w.d.ended:
		case !held:
			w.later[l] = struct{}{} // the record may be another's
		default:
			if write, ok := l.beginSave(); ok {
				writes = append(writes, write)
			}
		}
	}
	return writes, false
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

// fence ends the work on the partition: it has another owner, or a predecessor that
// was held up has written late. If the partition is this worker's all the same it
// begins anew, with what is stored.
func (d *Deliverer) fence(conflict *stream.ConflictError) {
	d.closing, d.ended = true, true
	d.follower.Fence(conflict)
}
