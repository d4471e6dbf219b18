package deliver

import (
	"context"
	"time"

	"poked/events"
	"poked/events/partition"
)

// late is a user of whose pushers match had heard more, when it decided, than this
// dispatcher has: usually for milliseconds, for seconds after its watch of PUSHERS
// lost something or began anew. A notification that was handed to the pushers known
// here would miss a new one, so the user's messages stay open, in order, until the
// watch has told of the revision that match knew. Nobody else waits. They are part of
// the partition's window, which bounds how many they are; at a stop they stay open,
// for the next worker.
type late struct {
	revision uint64 // of PUSHERS, to be heard of
	messages []partition.Message
	since    time.Time
}

const (
	// askLateAfter is how long a user waits until the bucket is asked whether anything
	// is still to be heard of, and how often it is asked.
	askLateAfter = time.Second
	// askLateLimit bounds for how many users it is asked at a time.
	askLateLimit = 256
)

// isLate reports whether a message has to wait for its user's pushers, and then keeps
// it.
func (d *Deliverer) isLate(msg partition.Message, s events.LogSubject) bool {
	w, revision := d.late[s.User], uint64(0)
	if s.Kind == events.LogNotify {
		revision = events.PushersRevisionOf(msg.Data)
	}
	if w == nil {
		if d.Directory.IsCurrent(s.User, revision) {
			return false
		}
		w = &late{since: time.Now()}
		d.late[s.User] = w
	}
	w.revision = max(w.revision, revision)
	w.messages = append(w.messages, msg)
	return true
}

// takeLate works through the messages that have waited long enough.
func (d *Deliverer) takeLate(ctx context.Context) {
	for user, w := range d.late {
		if !d.Directory.IsCurrent(user, w.revision) {
			continue
		}
		delete(d.late, user)
		for _, msg := range w.messages {
			if s, err := events.ParseLogSubject(msg.Subject); err == nil { // or it would not wait
				d.take(ctx, msg, s)
			}
		}
	}
}

// askLate asks the bucket what it holds of users who have waited for a while. What
// match knew may never be heard of: the bucket was made anew, and counts from 1, or it
// has lost what it said of the user. Then there is no more to wait for than what it
// holds now: it was asked after match decided.
func (d *Deliverer) askLate(ctx context.Context, now time.Time) {
	if now.Before(d.askLateAt) {
		return
	}
	d.askLateAt = now.Add(askLateAfter)
	ctx, cancel := context.WithTimeout(ctx, askLateAfter)
	defer cancel()
	asked := 0
	for user, w := range d.late {
		if now.Sub(w.since) < askLateAfter || d.Directory.IsCurrent(user, w.revision) {
			continue
		}
		if asked++; asked > askLateLimit {
			return
		}
		revision, err := d.Conn.PushersRevision(ctx, user)
		if err != nil {
			d.waiting(err)
			return
		}
		w.revision = min(w.revision, revision)
	}
}
