package stream

import (
	"context"
	"encoding/json"

	"poked/events"
)

const pauses = "paused." // the origin's token follows

func pauseKey(p events.Pause) string { return pauses + events.Token(p.Origin) }

// PutPause stores a pause, unless the bucket has one that ends no earlier: of two pauses
// from two dispatchers the longer one applies to all. done is called once when either is
// stored, or with an error.
func (c *Conn) PutPause(p events.Pause, done func(error)) {
	c.putGateway(pauseKey(p), p, func(found string) bool {
		var other events.Pause
		return json.Unmarshal([]byte(found), &other) == nil && !other.Until.Before(p.Until)
	}, done)
}

// WatchPauses calls apply with each known pause, then ready once, then apply with each
// new one. A pause may already be over. It returns as [Conn.WatchPushRules] does.
func (c *Conn) WatchPauses(ctx context.Context, apply func(events.Pause), ready func()) error {
	return watchGateways(ctx, c, pauses, pauseKey, apply, ready)
}
