package deliver

import (
	"context"
	"sync"

	"poked/events"
	"poked/events/wait"
)

// backlogWriter writes the records of the lanes of one partition. Its goroutine holds no
// mutex while it publishes: a connection to NATS that blocks stops that goroutine and no
// delivery slot.
//
//	save ──▶ due ──▶ take: what to write, under the mutex ──▶ publish ──▶ saved
//	          ▲                                                             │
//	          └────── tick ◀── later ◀── not stored, or no lease ◀──────────┘
type backlogWriter struct {
	d    *Deliverer
	some chan struct{}

	// The deliverer's mutex guards these.
	due     []*lane            // each once: those whose record is due
	later   map[*lane]struct{} // due with the next tick
	writing int                // writes in flight
}

func newBacklogWriter(d *Deliverer) backlogWriter {
	return backlogWriter{d: d, some: make(chan struct{}, 1), later: map[*lane]struct{}{}}
}

// add schedules a write of a lane's record. The caller holds the mutex, as for the next
// two.
func (w *backlogWriter) add(l *lane) {
	if !l.record.due {
		l.record.due = true
		w.due = append(w.due, l)
	}
	delete(w.later, l)
	wait.Wake(w.some)
}

// again schedules the writes that failed before.
func (w *backlogWriter) again() {
	for l := range w.later {
		w.add(l)
	}
}

// idle reports whether nothing is in flight and nothing can be written.
func (w *backlogWriter) idle() bool { return w.writing == 0 && len(w.due) == 0 }

// start begins to write. stop ends that and waits for it.
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

// takeAtOnce bounds the records that are copied while the mutex is held.
const takeAtOnce = 256

// backlogWrite is a copy of a lane's record, to be written.
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
	n := min(len(w.due), takeAtOnce)
	for _, l := range w.due[:n] {
		l.record.due = false
		switch {
		case w.d.ended:
		case !held:
			w.later[l] = struct{}{} // the record may be another worker's
		default:
			if write, ok := l.beginSave(); ok {
				writes = append(writes, write)
			}
		}
	}
	clear(w.due[:n])
	if w.due = w.due[n:]; len(w.due) == 0 {
		w.due = nil
	}
	return writes, len(w.due) > 0
}
