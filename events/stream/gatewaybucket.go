package stream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
)

// errOtherKey is the error for a value that belongs to another key.
var errOtherKey = errors.New("it belongs to another key")

// putGateway stores what a dispatcher knows of a gateway, unless stays reports that what another has
// stored meanwhile is to stay. done is called once when either is so, or with an error.
func (c *Conn) putGateway(key string, what any, stays func(found string) bool, done func(error)) {
	value, err := json.Marshal(what)
	if err != nil { // only a time out of range
		done(fmt.Errorf("encode value of %s: %w", key, err))
		return
	}
	r := c.unread(bucketGateways, key, rand.Text())
	var answered func(error)
	answered = func(err error) {
		conflict := new(ConflictError)
		switch {
		case !errors.As(err, &conflict):
			done(err)
		case stays(conflict.Found.Value):
			done(nil)
		default:
			r.Adopt(conflict)
			r.Put(value, answered)
		}
	}
	r.Put(value, answered)
}

// watchGateways calls apply with each value of the keys that have the prefix, then ready once, then apply
// with each new one. A value that cannot be read, or whose own key is another one, is counted and
// logged. It returns as [Conn.WatchPushRules] does.
func watchGateways[T any](ctx context.Context, c *Conn, prefix string, keyOf func(T) string, apply func(T), ready func()) error {
	return c.watchBucket(ctx, bucketGateways, prefix+"*", func(e entry) {
		if e.deleted {
			return
		}
		value, err := parseGateway(e, keyOf)
		if err != nil {
			c.NoteUnreadable(bucketGateways, e.key, e.revision, err)
			return
		}
		apply(value)
	}, ready)
}

// parseGateway reads a value and checks that it has its own key.
func parseGateway[T any](e entry, keyOf func(T) string) (value T, err error) {
	if err = json.Unmarshal(e.value, &value); err == nil && keyOf(value) != e.key {
		err = errOtherKey
	}
	return value, err
}
