package dispatchertest

import (
	"poked/events"
	"poked/events/operator"
)

// Pushers returns the pushers that an operator sees.
func (h *Harness) Pushers(filter events.PusherFilter) []events.PusherState {
	h.T.Helper()
	var states []events.PusherState
	for state, err := range h.Operator.Pushers(h.T.Context(), filter) {
		if err != nil {
			h.T.Fatal(err)
		}
		states = append(states, state)
	}
	return states
}

// OnePusher returns a user's only pusher as an operator sees it.
func (h *Harness) OnePusher(user events.UserID) events.PusherState {
	h.T.Helper()
	states := h.Pushers(events.PusherFilter{UserID: user})
	if len(states) != 1 {
		h.T.Fatalf("%d pushers of %s, want 1: %+v", len(states), user, states)
	}
	return states[0]
}

// RetryPushers retries pushers as an operator does.
func (h *Harness) RetryPushers(filter events.PusherFilter) int {
	h.T.Helper()
	n, err := h.Operator.RetryPushers(h.T.Context(), filter)
	if err != nil {
		h.T.Error(err)
	}
	return n.Retried
}

// Skip skips pokes as an operator does.
func (h *Harness) Skip(filter events.PusherFilter) events.SkippedPushers {
	h.T.Helper()
	n, err := h.Operator.SkipPushers(h.T.Context(), filter)
	if err != nil {
		h.T.Error(err)
	}
	return n
}

// RetryDead retries all dead letters as an operator does.
func (h *Harness) RetryDead() {
	h.T.Helper()
	for letter, err := range h.Operator.DeadLetters(h.T.Context(), operator.DeadFilter{}) {
		if err == nil {
			err = h.Operator.RetryDead(h.T.Context(), letter.Seq)
		}
		if err != nil {
			h.T.Error(err)
		}
	}
}

// Gateways returns the state of each push gateway, as operators see it.
func (h *Harness) Gateways() (states []events.GatewayState) {
	h.T.Helper()
	for state, err := range h.Operator.Gateways(h.T.Context()) {
		if err != nil {
			h.T.Fatal(err)
		}
		states = append(states, state)
	}
	return states
}
