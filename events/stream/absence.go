package stream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"poked/events"
)

func absenceKey(origin string) string { return "gone." + events.Token(origin) }

// PutAbsence stores for how long a gateway has been gone, unless the bucket has a value that is newer
// than base, from which this one was counted: then the other one arrives by [Conn.WatchAbsences].
// That it works again replaces any value. done is called once when either is so, or with an error.
func (c *Conn) PutAbsence(a events.Absence, base time.Time, done func(error)) {
	value, err := json.Marshal(a)
	if err != nil { // only a time out of range
		done(fmt.Errorf("encode absence: %w", err))
		return
	}
	r := c.unread(bucketGateways, absenceKey(a.Origin), rand.Text())
	var answered func(error)
	answered = func(err error) {
		conflict := new(ConflictError)
		if !errors.As(err, &conflict) {
			done(err)
			return
		}
		var other events.Absence
		if a.Gone > 0 && json.Unmarshal([]byte(conflict.Found.Value), &other) == nil && other.At.After(base) {
			done(nil)
			return
		}
		r.Adopt(conflict)
		r.Put(value, answered)
	}
	r.Put(value, answered)
}

// WatchAbsences calls apply with each known absence, then ready once, then apply with each new one.
// It returns as [Conn.WatchPushRules] does.
func (c *Conn) WatchAbsences(ctx context.Context, apply func(events.Absence), ready func()) error {
	return c.watchBucket(ctx, bucketGateways, "gone.*", func(e entry) {
		if e.deleted {
			return
		}
		var a events.Absence
		err := json.Unmarshal(e.value, &a)
		if err == nil && (absenceKey(a.Origin) != e.key || a.Gone < 0) {
			err = errOtherKey
		}
		if err != nil {
			c.NoteUnreadable(bucketGateways, e.key, e.revision, err)
			return
		}
		apply(a)
	}, ready)
}
