package stream

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"poked/events"
)

// errOtherKey says that a value belongs to another key than the one it stands at.
var errOtherKey = errors.New("it belongs to another key")

func pauseKey(origin string) string { return "paused." + events.Token(origin) }

// PutPause writes a pause down, unless one that ends no earlier stands there: of two
// dispatchers that were asked for different pauses at the same time the longer one
// holds for all. done hears when one of them is stored.
func (c *Conn) PutPause(p events.Pause, done func(error)) {
	value, err := json.Marshal(p)
	if err != nil { // only a time out of range
		done(fmt.Errorf("encode pause: %w", err))
		return
	}
	r := c.unread(bucketGateways, pauseKey(p.Origin), rand.Text())
	var answered func(error)
	answered = func(err error) {
		conflict := new(ConflictError)
		if !errors.As(err, &conflict) {
			done(err)
			return
		}
		var other events.Pause
		if json.Unmarshal([]byte(conflict.Stands.Value), &other) == nil && !other.Until.Before(p.Until) {
			done(nil)
			return
		}
		r.Adopt(conflict)
		r.Put(value, answered)
	}
	r.Put(value, answered)
}

// WatchPauses calls apply with each pause that is known, then ready once, then apply
// with each that becomes known. Some may be over. It returns as
// [Conn.WatchPushRules] does.
func (c *Conn) WatchPauses(ctx context.Context, apply func(events.Pause), ready func()) error {
	return c.watchBucket(ctx, bucketGateways, "paused.*", func(e entry) {
		if e.deleted {
			return
		}
		var p events.Pause
		if err := json.Unmarshal(e.value, &p); err != nil || pauseKey(p.Origin) != e.key {
			c.NoteUnreadable(bucketGateways, e.key, e.revision, cmp.Or(err, errOtherKey))
			return
		}
		apply(p)
	}, ready)
}
