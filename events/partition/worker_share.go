package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"poked/events"
	"poked/events/stream"
)

// present returns the workers that share the partitions, in order: those with a recent
// heartbeat that are not leaving.
func (w *Worker) present() []string {
	var names []string
	for key, r := range w.members.records {
		switch name := strings.TrimPrefix(key, workerKey("")); {
		case name == w.id: // added below
		case time.Since(r.at) > stream.WorkerTTL:
			delete(w.members.records, key)
		case !w.readable(key, r.Record):
		case r.There && r.Value != stateLeaving:
			names = append(names, name)
		}
	}
	if !w.leaving {
		names = append(names, w.id)
	}
	slices.Sort(names)
	return names
}

// errNoWorker is the error for a value that is not the name of a worker.
var errNoWorker = errors.New("it names no worker")

// errNoState is the error for a heartbeat with an unknown value.
var errNoState = errors.New("it is no worker's heartbeat")

// readable reports whether a heartbeat belongs to a worker. One with an unknown value
// does: its worker lives and will overwrite it.
func (w *Worker) readable(key string, r stream.Record) bool {
	if !isWorkerName(strings.TrimPrefix(key, workerKey(""))) {
		w.conn.NoteUnreadable(stream.BucketWorkers, key, r.Revision, errNoWorker)
		return false
	}
	if r.There && r.Value != stateHere && r.Value != stateLeaving {
		w.conn.NoteUnreadable(stream.BucketWorkers, key, r.Revision, errNoState)
	}
	return true
}

// divide assigns the partitions to the workers that are present.
func (w *Worker) divide() {
	if names := w.present(); w.shares == nil || !slices.Equal(names, w.sharing) {
		w.sharing, w.shares = names, assign(w.conn.Topology().Partitions, names)
	}
}

// handOver ends the work on partitions that are assigned to another worker, or already
// owned by one.
func (w *Worker) handOver() {
	w.findLost()
	wanted := len(w.sharing) > 0
	for part, t := range w.tenures {
		if w.shares[part] != w.id {
			t.end(wanted)
		}
	}
}

// findLost ends the work on partitions that another worker has taken over.
func (w *Worker) findLost() {
	var lost []int
	for part, t := range w.tenures {
		if t.lost || w.owner(part).Value == w.id {
			continue
		}
		t.lost = true
		t.end(true)
		lost = append(lost, part)
	}
	if len(lost) > 0 {
		slices.Sort(lost)
		w.log.Warn("another dispatcher has taken over", "parts", lost)
	}
}

// giveBack releases the worker's partitions that are assigned to another and whose work
// has ended.
func (w *Worker) giveBack(ctx context.Context) {
	if !w.Lease().Held() || !w.owners.synced() {
		return // it may be another's already
	}
	var given []int
	for _, part := range w.mine() {
		if w.tenures[part] == nil && (w.leaving || w.shares[part] != w.id) {
			given = append(given, part)
		}
	}
	if len(given) == 0 {
		return
	}
	if given, _ = w.write(ctx, given, ""); len(given) > 0 {
		w.log.Info("partitions given up", "parts", given, "owned", len(w.tenures), "workers", len(w.sharing))
	}
}

// take begins the work on partitions that are assigned to this worker and free. Only
// those that it has just recorded as its own count: an older record may be another
// worker's since a write without an answer.
func (w *Worker) take(ctx, working context.Context, own func(context.Context, *Tenure) error) {
	parts := w.free(ctx)
	if len(parts) == 0 {
		return
	}
	parts, _ = w.write(ctx, parts, w.id)
	batch := newBatch(len(parts))
	for _, part := range parts {
		t := &Tenure{Part: part, batch: batch, wake: w.wakeUp}
		w.tenures[part] = t
		t.begin(working, own)
	}
	if len(parts) > 0 {
		w.log.Info("partitions gained", "parts", parts, "owned", len(w.tenures), "workers", len(w.sharing))
	}
}

// free returns the partitions that are assigned to this worker and whose owner has
// released them or is dead.
func (w *Worker) free(ctx context.Context) (parts []int) {
	dead := map[string]bool{"": true, w.id: true}
	for part, name := range w.shares {
		if name != w.id || w.tenures[part] != nil || time.Now().Before(w.resting[part]) {
			continue
		}
		last := w.owner(part)
		owner := last.Value
		if owner != "" && !isWorkerName(owner) {
			w.conn.NoteUnreadable(stream.BucketPositions, ownerKey(part), last.Revision, errNoWorker)
			owner = ""
		}
		if _, known := dead[owner]; !known {
			dead[owner] = w.isDead(ctx, owner)
		}
		if dead[owner] {
			parts = append(parts, part)
		}
	}
	return parts
}

// isDead reports whether it is certain that a worker is dead.
func (w *Worker) isDead(ctx context.Context, worker string) bool {
	if r, known := w.members.records[workerKey(worker)]; known && r.There {
		return false
	}
	lives, err := lives(ctx, w.conn, worker)
	if err != nil {
		w.log.Warn("not known whether a dispatcher lives, asking again", "other", worker, "error", err)
	}
	return err == nil && !lives
}

// unsettled returns an error that lists the assigned partitions that the worker does not
// work on, or nil if well is true or the worker is leaving.
func (w *Worker) unsettled(well bool) error {
	if well || w.leaving {
		return nil
	}
	if !w.members.synced() || !w.owners.synced() {
		return errNotWatched
	}
	var parts []int
	for part, name := range w.shares {
		if t := w.tenures[part]; name == w.id && (t == nil || !t.ready.Load()) {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return errNoLease
	}
	return fmt.Errorf("partitions %v are not worked on; the log says why", parts)
}

// errNotWatched is the trouble of a worker that cannot see which workers there are.
var errNotWatched = errors.New("it is not known which dispatchers share the partitions: WORKERS or POSITIONS cannot be watched")

// errNoLease is the trouble of a worker without a lease.
var errNoLease = errors.New("the right to the partitions is not confirmed: WORKERS or POSITIONS cannot be written")

// settled reports whether the worker owns all partitions that are assigned to it, and
// works on them.
func (w *Worker) settled() bool {
	for part, name := range w.shares {
		if t := w.tenures[part]; name == w.id && (t == nil || !t.ready.Load()) {
			return false
		}
	}
	return true
}

// isWorkerName reports whether a name is one that a worker may have: one token of a
// subject, and no wildcard.
func isWorkerName(name string) bool {
	return name != "" && len(name) <= events.MaxIDBytes && !strings.ContainsFunc(name, func(r rune) bool {
		plain := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
		return !plain
	})
}
