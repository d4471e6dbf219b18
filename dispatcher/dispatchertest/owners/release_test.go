package owners_test

import (
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
)

// After a handover only the new owner has the lagging pushers: each is counted once.
func TestLaggingPushersMoveWithTheirPartition(t *testing.T) {
	bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
		users := h.Audience(40)
		h.Start()
		first := h.Instance
		h.Room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		h.GatewayDown()
		next := h.SayEvery(0, 3, time.Second)
		<-time.After(time.Minute)
		lag := func(when string, instances ...*instance) {
			t.Helper()
			total := int64(0)
			for _, l := range instances {
				total += l.Dispatcher.Stats().Lagging
			}
			atGateways, inLine := 0, 0
			for g, err := range h.Operator.Gateways(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if g.Worker == "" {
					t.Errorf("a gateway state without its dispatcher: %+v", g)
				}
				atGateways, inLine = atGateways+g.Lagging, inLine+g.Waiting
			}
			if inLine < 30 || inLine > 40 {
				t.Errorf("%s: %d wait, want most of 40", when, inLine)
			}
			if n := len(h.Pushers(events.PusherFilter{State: "lagging"})); total != 40 || atGateways != 40 || n != 40 || h.Backlog() != 40 {
				t.Errorf("%s: %d lag, %d at gateways, %d in the list and %d with a record, want 40", when, total, atGateways, n, h.Backlog())
			}
		}
		lag("with one", first)
		h.Begin()
		second := h.Instance
		h.Shared(5*time.Second, first, second)
		<-time.After(time.Minute)
		lag("with two", first, second)
		if n := second.Dispatcher.Stats().Lagging; n < 5 || n > 35 {
			t.Errorf("%d of 40 lag at one of two", n)
		}
		if n := h.RetryPushers(events.PusherFilter{}); n != 40 {
			t.Errorf("%d are retried, want 40", n)
		}
		first.Halt()
		h.Shared(time.Second, second)
		<-time.After(time.Minute)
		lag("with the other", second)
		if n := first.Dispatcher.Stats().Lagging; n != 0 {
			t.Errorf("a stopped dispatcher counts %d lagging pushers", n)
		}
		h.GatewayUp()
		h.SayEvery(next, 3, time.Second)
		h.CaughtUp()
		h.CheckAll(users, 0)
	})
}
