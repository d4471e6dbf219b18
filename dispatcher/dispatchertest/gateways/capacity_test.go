package gateways_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
)

// More is to be sent than the dispatcher's slots allow, and the gateway answers well.
// Operators see that capacity is the limit, as a state of its own, while the last of it is
// late by much more than Patience. Nobody lags, nothing is skipped or out of order, and the
// gateway keeps its limit.
func TestG12CapacityIsAStateOfItsOwn(t *testing.T) {
	eventstest.Long(t)
	bubbleOf(t, 1, func(t *testing.T, h *harness) {
		const users, each = 60, 30 // more events than a partition may have open
		h.Config.Slots = 4
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: http.StatusOK, After: 50 * time.Millisecond}))
		members := h.RegisterMany(users, "gw.test", "u")
		h.Start()
		room := func(i int) events.RoomID { return events.RoomID(fmt.Sprintf("!r%d", i)) }
		for i, user := range members {
			h.Room(room(i), "@alice:x", user)
		}
		h.Say(room(0), "@alice:x", 0, 1)
		h.Arrived(1)
		if h.limited(events.GatewayClosed) {
			t.Error("capacity is the limit of a dispatcher without work")
		}
		for e := 1; e < each; e++ {
			for i := range members {
				h.Say(room(i), "@alice:x", e, 1)
			}
		}
		const all = users*(each-1) + 1
		h.Arrived(all / 4)
		if behind := h.Dispatcher.Health().Capacity.Behind["deliver"]; behind < 2*time.Second {
			t.Errorf("deliver is behind by %v", behind)
		}
		for _, part := range []int{all / 3, all / 2} {
			h.Arrived(part)
			if !h.limited(events.GatewayCapacity) {
				t.Errorf("capacity is not the limit after %d of %d pokes", part, all)
			}
		}
		h.Arrived(all)
		<-time.After(3 * time.Second)
		if h.limited(events.GatewayClosed) {
			t.Error("capacity is still the limit when all is done")
		}
		if s := h.Dispatcher.Stats(); s.Lagging != 0 || s.PassedOver != 0 || s.Failed != 0 {
			t.Errorf("%+v", s)
		}
		for i, user := range members {
			h.Check(user, 0, fmt.Sprintf("u%d", i))
		}
	})
}

// limited reports whether the dispatcher says that its capacity is the limit. It fails the
// test if its gateway is in another state.
func (h *harness) limited(want events.GatewayPhase) bool {
	h.T.Helper()
	for _, g := range h.Gateways() {
		if g.State != want {
			h.T.Errorf("the gateway is %s, want %s", g.State, want)
		}
	}
	health := h.Dispatcher.Health()
	if health.Gateways[want] != 1 {
		h.T.Errorf("gateways by state: %v", health.Gateways)
	}
	return health.Capacity.Limited
}
