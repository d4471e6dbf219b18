package deliver

import (
	"context"
	"time"

	"poked/events"
	"poked/events/partition"
)

// late is a user for whom match, when it decided, knew a newer revision of PUSHERS than this
// dispatcher does now: usually for milliseconds, for seconds after the watch of PUSHERS lost
// something or began anew. A notification that went to the pushers known here would miss a
// new one (G1), so the user's messages stay open, in order, until the watch reaches the
// revision that match knew. No other user waits. The messages are part of the partition's
// window, which bounds their number; at a stop they stay open for the next owner.
type late struct {
	revision uint64 // of PUSHERS, to wait for
	messages []partition.Message
	since    time.Time
}

const (
	// askLateAfter is how long a user waits before PUSHERS is asked for the user's revision,
	// and the interval between the questions.
	askLateAfter = time.Second
	// askLateLimit bounds the users for whom it is asked at a time.
	askLateLimit = 256
)

// isLate reports whether a message must wait for its user's pushers, and then keeps it.
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

// takenOf returns the sequence up to which all messages of a user were processed, here or by
// an earlier owner of the partition.
func (d *Deliverer) takenOf(user events.UserID) uint64 {
	if w := d.late[user]; w != nil {
		return w.messages[0].Seq - 1
	}
	return d.taken
}

// takeLate processes the messages whose users' pushers are known by now.
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

// askLate asks PUSHERS for the revision of users who have waited for a while. The revision
// that match knew may never arrive: the bucket was created anew and counts from 1, or it has
// lost the user's value. Then the revision that it holds now is enough to wait for, since it
// is asked after match decided.
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
