package operate

import (
	"context"
	"iter"
	"time"

	"poked/dispatcher/trace"
	"poked/events"
	"poked/events/operator"
	"poked/events/stream"
)

// Pusher is the state of a pusher, with the names that its user knows.
type Pusher struct {
	events.PusherState
	Names
}

func (p *Pusher) names() (events.UserID, events.PusherID, *Names) {
	return p.UserID, p.Pusher, &p.Names
}

// Missing is told which part of an answer is missing, and why. What counts is the rest.
type Missing func(what string, err error)

// Pushers yields the pushers that filter admits, as the dispatchers know them. With history
// they have their last success and error from before their dispatcher started.
func Pushers(ctx context.Context, conn *stream.Conn, filter events.PusherFilter, history bool, missing Missing) iter.Seq2[Pusher, error] {
	states := operator.NewClient(conn).Pushers(ctx, filter)
	if history {
		states = withHistory(ctx, conn, missing, states)
	}
	all := func(yield func(Pusher, error) bool) {
		for state, err := range states {
			if !yield(Pusher{PusherState: state}, err) {
				return
			}
		}
	}
	return WithNames(ctx, conn, missing, all)
}

// withHistory yields pushers with what became of their pokes before their dispatcher started.
func withHistory(ctx context.Context, conn *stream.Conn, missing Missing, states iter.Seq2[events.PusherState, error]) iter.Seq2[events.PusherState, error] {
	return func(yield func(events.PusherState, error) bool) {
		failed := conn.Join(ctx)
		history := trace.NewHistory(conn, time.Now())
		for state, err := range states {
			if err == nil && failed == nil {
				failed = history.Complete(ctx, &state)
			}
			if !yield(state, err) {
				return
			}
		}
		if failed != nil {
			missing("what happened before the dispatchers started", failed)
		}
	}
}
