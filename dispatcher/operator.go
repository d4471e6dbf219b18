package dispatcher

import (
	"context"
	"iter"
	"slices"
	"time"

	"poked/events"
	"poked/events/operator"
	"poked/events/partition"
)

// serveOperator answers operators until ctx ends. Delivery does not need it.
func (d *Dispatcher) serveOperator(ctx context.Context, all *delivery) {
	operator.ServeDispatcher(ctx, d.conn, d.worker, events.OperatorHandler{
		Pushers: all.pushers, Retry: all.retry, Skip: all.skip, Gateways: all.gatewayStates, State: d.state,
	}, d.operatorsServed)
}

// Worker returns the name of the dispatcher, as its log has it and operators see it.
func (d *Dispatcher) Worker() string { return d.worker }

// Leads reports whether the dispatcher is the one of its deployment that does what one has to do
// for all of them: it owns the delivery of partition 0.
func (d *Dispatcher) Leads() bool {
	return slices.ContainsFunc(d.Following(), func(f partition.Following) bool {
		return f.Stage == partition.StageDeliver.Name && f.Part == 0
	})
}

// state returns what the dispatcher reports to operators about its work as a whole.
func (d *Dispatcher) state() events.DispatcherState {
	h := d.Health()
	s := events.DispatcherState{
		Worker: d.worker, RoomEvents: h.RoomEvents, Notifications: h.Notifications,
		Delivered: h.Delivered, Failed: h.Failed + h.Rejected, Dead: h.Expired + h.Refused + h.PutAside,
		PutAside: h.PutAside, Unreadable: h.Skipped,
		Lagging: h.Lagging, OldestDue: h.OldestDue, Limited: h.Capacity.Limited, OwnDelayMS: float64(h.Capacity.OwnDelay) / float64(time.Millisecond), Owned: make([]events.OwnedPartition, 0, len(h.Following)),
	}
	for _, f := range h.Following {
		s.Owned = append(s.Owned, events.OwnedPartition{Stage: f.Stage, Part: f.Part, Waiting: f.Waiting, Open: f.Open, BehindMS: f.Behind.Milliseconds(), Trouble: f.Trouble})
	}
	return s
}

// operatorsServed records whether operators get an answer.
func (d *Dispatcher) operatorsServed(err error) {
	if err == nil {
		d.operators.Store(nil)
		return
	}
	if d.operators.Swap(new(err.Error())) == nil {
		d.log.Warn("operators get no answer, trying until they do", "error", err)
	}
}

// pushers yields the pushers that filter admits, from a cursor on.
func (all *delivery) pushers(ctx context.Context, filter events.PusherFilter, after events.PusherCursor) iter.Seq2[events.PusherState, events.PusherCursor] {
	return func(yield func(events.PusherState, events.PusherCursor) bool) {
		for part := max(after.Part, 0); part < len(all.byPart); part++ {
			d := all.at(part)
			if d == nil || !all.mayHold(part, filter) {
				after = events.PusherCursor{}
				continue
			}
			for state := range d.States(ctx, filter, after) {
				place := events.PusherCursor{Part: part, UserID: state.UserID, Pusher: state.Pusher}
				if ctx.Err() != nil || !yield(state, place) {
					return
				}
			}
			after = events.PusherCursor{}
		}
	}
}

// mayHold reports whether a partition may hold pushers that filter admits.
func (all *delivery) mayHold(part int, filter events.PusherFilter) bool {
	return filter.UserID == "" || part == events.PartitionOf(events.Token(filter.UserID), len(all.byPart))
}

// retry schedules the lagging pushers that filter admits for now.
func (all *delivery) retry(ctx context.Context, filter events.PusherFilter) (n events.RetriedPushers) {
	for part := range all.byPart {
		if d := all.at(part); d != nil && all.mayHold(part, filter) {
			in := d.Retry(ctx, filter)
			n.Pushers, n.Retried = n.Pushers+in.Pushers, n.Retried+in.Retried
		}
	}
	return n
}

// skip puts aside the poke at which each lagging pusher is stuck that filter admits.
func (all *delivery) skip(ctx context.Context, filter events.PusherFilter) (n events.SkippedPushers) {
	for part := range all.byPart {
		if d := all.at(part); d != nil && all.mayHold(part, filter) {
			in := d.Skip(ctx, filter)
			n.Pushers, n.Skipped = n.Pushers+in.Pushers, n.Skipped+in.Skipped
		}
	}
	return n
}
