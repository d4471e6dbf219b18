package match

import (
	"context"
	"slices"

	"poked/events"
	"poked/events/partition"
	"poked/events/wait"
)

// withoutStored leaves out users whose notification is stored already, by an earlier owner
// of the partition or by an attempt without an answer, and users who have read the event
// since.
func (m *Matcher) withoutStored(ctx context.Context, msg partition.Message, ev *events.RoomEvent, thread events.EventID, notified []decision) ([]decision, error) {
	if msg.Wrote || len(notified) == 0 {
		return nil, nil
	}
	if err := m.learnStored(ctx, msg); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(notified, func(d decision) bool {
		return m.stored.has(d.member.id, ev.RoomID, msg.Seq, thread)
	}), nil
}

// learnStored reads what was stored of a message, unless that was read since its last
// attempt.
func (m *Matcher) learnStored(ctx context.Context, msg partition.Message) error {
	failures := m.failures.Load()
	after := m.follower.LogOf(msg.Seq)
	if known := m.stored; known != nil {
		if known.failures == failures && known.from <= msg.Seq && msg.Seq < known.upTo {
			return nil
		}
		if known.failures == failures && msg.Seq >= known.upTo {
			after = max(after, known.after)
		}
	}
	return wait.Until(ctx, wait.RetryPause, m.failed, func() error {
		stored, err := m.cfg.Recovery.stored(ctx, after, msg.Seq)
		if err == nil {
			own := *stored // other partitions share the rest
			own.failures = failures
			m.stored = &own
		}
		return err
	})
}

// forgetStored releases what was read, once no message is matched again.
func (m *Matcher) forgetStored(msg partition.Message) {
	if !msg.Replayed {
		m.stored = nil
	}
}
