package trace

import (
	"context"
	"fmt"
	"time"

	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/stream"
)

// History knows what became of pokes before their dispatcher started, as far as OUTCOMES
// goes back. It reads the attempts of a partition once, when the first of its users is asked
// for.
type History struct {
	conn  *stream.Conn
	since time.Time
	read  map[int]map[events.PusherID]last // by partition
}

// last is what was known last of a pusher.
type last struct {
	success, failedAt time.Time
	failure           string
}

// historyFor is how far back a history goes.
const historyFor = 7 * 24 * time.Hour

// NewHistory returns a history that has read nothing yet.
func NewHistory(conn *stream.Conn, now time.Time) *History {
	return &History{conn: conn, since: now.Add(-historyFor), read: map[int]map[events.PusherID]last{}}
}

// Complete fills in the last success and the last failure of a pusher that its dispatcher does
// not know.
func (h *History) Complete(ctx context.Context, s *events.PusherState) error {
	if !s.LastSuccess.IsZero() && !s.LastErrorAt.IsZero() {
		return nil
	}
	part := events.PartitionOf(events.Token(s.UserID), h.conn.Topology().Partitions)
	of, known := h.read[part]
	if !known {
		of = map[events.PusherID]last{}
		for a, err := range h.conn.Attempts(ctx, s.UserID, h.since) {
			if err != nil {
				return fmt.Errorf("read what became of pokes: %w", err)
			}
			of[a.Pusher] = of[a.Pusher].after(&a)
		}
		h.read[part] = of
	}
	l := of[s.Pusher]
	if s.LastSuccess.IsZero() {
		s.LastSuccess = l.success
	}
	if s.LastErrorAt.IsZero() && !l.failedAt.IsZero() {
		s.LastErrorAt, s.LastError = l.failedAt, l.failure
	}
	return nil
}

// after returns what is known after an attempt.
func (l last) after(a *events.Attempt) last {
	switch a.Outcome {
	case poke.Delivered.String():
		l.success = a.At
	case poke.Rejected.String(), poke.Retired.String(), poke.Retry.String(), poke.Slow.String(), poke.Refused.String():
		l.failedAt, l.failure = a.At, poke.FailureOf(a.Class, a.Status).String()
	}
	return l
}
