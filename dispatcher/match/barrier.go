package match

import (
	"context"
	"time"

	"poked/events"
	"poked/events/partition"
)

// askBarrierAfter is how long a barrier is waited for before the buckets are asked for their
// newest revisions, and the interval between the questions.
const askBarrierAfter = time.Second

// passBarrier returns when the directory knows what the registry had stored before it
// published a barrier. Meanwhile nothing of the partition is matched: what follows may concern
// the change. The directory is usually ahead, and there is nothing to wait for. The message
// stays open if ctx ends first.
func (m *Matcher) passBarrier(ctx context.Context, msg partition.Message) {
	b, err := events.ParseBarrier(msg.Data)
	if err != nil {
		m.reject(msg, events.DeadBadEvent, err)
		return
	}
	tick := time.NewTicker(askBarrierAfter)
	defer tick.Stop()
	for {
		known, news := m.cfg.Directory.Reached(b)
		if known {
			m.follower.Done(msg.Seq)
			return
		}
		select {
		case <-news:
		case <-tick.C:
			b = m.askBarrier(ctx, b)
		case <-ctx.Done():
			return
		}
	}
}

// askBarrier returns what is left to wait for. The revisions of a barrier may never arrive:
// their bucket was created anew and counts from 1, or has lost its newest values. Then it is
// enough to know what the bucket holds now.
func (m *Matcher) askBarrier(ctx context.Context, b events.Barrier) events.Barrier {
	now, err := m.cfg.Conn.Revisions(ctx)
	if err != nil {
		m.cfg.Log.Warn("match waits for pushers and push rules", "error", err)
		return b
	}
	return events.Barrier{Pushers: min(b.Pushers, now.Pushers), PushRules: min(b.PushRules, now.PushRules)}
}
