package stream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"poked/events"
)

// errOtherKey is the error for a value that belongs to another key.
var errOtherKey = errors.New("it belongs to another key")

func pauseKey(origin string) string { return "paused." + events.Token(origin) }

// PutPause stores a pause, unless the bucket has one that ends no earlier: of two pauses
// from two dispatchers the longer one applies to all. done is called once when either is
// stored, or with an error.
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
		if json.Unmarshal([]byte(conflict.Found.Value), &other) == nil && !other.Until.Before(p.Until) {
			done(nil)
			return
		}
		r.Adopt(conflict)
		r.Put(value, answered)
	}
	r.Put(value, answered)
}

// WatchPauses calls apply with each known pause, then ready once, then apply with each
// new one. A pause may already be over. It returns as [Conn.WatchPushRules] does.
func (c *Conn) WatchPauses(ctx context.Context, apply func(events.Pause), ready func()) error {
	return c.watchBucket(ctx, bucketGateways, "paused.*", func(e entry) {
		if e.deleted {
			return
		}
		p, err := parsePause(e)
		if err != nil {
			c.NoteUnreadable(bucketGateways, e.key, e.revision, err)
			return
		}
		apply(p)
	}, ready)
}

// parsePause reads a pause and checks that the pause has its own key.
func parsePause(e entry) (p events.Pause, err error) {
	if err = json.Unmarshal(e.value, &p); err == nil && pauseKey(p.Origin) != e.key {
		err = errOtherKey
	}
	return p, err
}
