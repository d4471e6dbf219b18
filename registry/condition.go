package registry

import (
	"context"
	"slices"
	"time"

	"poked/events"
)

// pusherCondition is how delivery to a pusher goes, as its owner sees it in GET pushers. What no
// dispatcher knows, or tells in time, is absent.
type pusherCondition struct {
	LastSuccess  int64  `json:"poked.last_success,omitempty"`  // milliseconds since the Unix epoch
	FailingSince int64  `json:"poked.failing_since,omitempty"` // likewise
	Reason       string `json:"poked.reason,omitempty"`        // why it is failing: a class of failure
}

// statesOf returns what the dispatcher that delivers to a user's pushers knows of them.
func (a *api) statesOf(ctx context.Context, set *events.UserPushers) map[events.PusherID]events.PusherState {
	if len(set.Pushers) == 0 {
		return nil
	}
	list, err := a.owners.PusherStates(ctx, set.UserID)
	if err != nil {
		a.log.Debug("the state of pushers is not known", "user_id", string(set.UserID), "error", err)
	}
	states := map[events.PusherID]events.PusherState{}
	for _, state := range list {
		states[state.Pusher] = state
	}
	return states
}

// askFailures returns why browsers of a user could not be pushed a token, if they have yet to
// acknowledge one.
func (a *api) askFailures(ctx context.Context, set *events.UserPushers) map[events.PusherID]string {
	if !slices.ContainsFunc(set.Pushers, func(p events.Pusher) bool { return p.Inactive }) {
		return nil
	}
	failures, err := a.store.AskFailures(ctx, set.UserID)
	if err != nil {
		a.log.Debug("why browsers are inactive is not known", "user_id", string(set.UserID), "error", err)
	}
	return failures
}

// conditionOf returns the condition of a pusher in a state.
func conditionOf(s events.PusherState) pusherCondition {
	condition := pusherCondition{LastSuccess: milliseconds(s.LastSuccess)}
	switch {
	case !s.Failing():
	case s.State == events.PusherRefused:
		condition.FailingSince, condition.Reason = milliseconds(s.LastErrorAt), s.LastError
	default:
		condition.FailingSince, condition.Reason = milliseconds(s.Since), s.Because
	}
	return condition
}

func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
