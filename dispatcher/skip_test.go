package dispatcher

import (
	"net/http"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// skip skips pokes as an operator does.
func (h *harness) skip(filter events.PusherFilter) events.SkippedPushers {
	h.t.Helper()
	n, err := h.conn.SkipPushers(h.t.Context(), filter)
	if err != nil {
		h.t.Error(err)
	}
	return n
}

// An operator puts aside the oldest poke of a pusher, whatever keeps it: its own failures, a
// gateway that is down, or a pause. Only that one is a dead letter, and it can be retried.
func TestOperatorSkipsAPoke(t *testing.T) {
	for name, reply := range map[string]eventstest.Reply{
		"404": {Status: http.StatusNotFound},
		"502": {Status: http.StatusBadGateway},
		"429": {Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3600"}}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.register("@bob:x", "gw.test", "bob")
				h.register("@eve:x", "gw.test", "eve")
				h.start()
				h.room("!r", "@alice:x", "@bob:x", "@eve:x")
				h.gateway.Answer(always(reply))
				h.say("!r", "@alice:x", 0, 3)
				<-time.After(70 * time.Second)
				if n := h.skip(events.PusherFilter{UserID: "@bob:x"}); n.Pushers != 1 || n.Skipped != 1 {
					t.Errorf("skipped: %+v", n)
				}
				<-time.After(time.Second)
				letters := h.dead()
				if len(letters) != 1 || letters[0].Reason != events.DeadSkipped || letters[0].Pushkey != "bob" ||
					letters[0].EventID != "$r-0" || letters[0].LastError == "" {
					t.Errorf("dead letters: %+v", letters)
				}
				if s := h.onePusher("@bob:x"); s.State != "lagging" || s.Waiting != 2 {
					t.Errorf("bob: %+v", s)
				}
				h.halt() // and what was put aside stays so
				h.start()
				h.gateway.Answer(up())
				<-time.After(2 * time.Hour)
				if got := delivered(h.gateway.Pokes(), "bob"); got != "r-1 r-2" {
					t.Errorf("bob got %s", got)
				}
				if got := delivered(h.gateway.Pokes(), "eve"); got != "r-0 r-1 r-2" {
					t.Errorf("eve got %s", got)
				}
				h.check("@bob:x", 0, "bob")
				if n := h.skip(events.PusherFilter{UserID: "@bob:x"}); n.Pushers != 1 || n.Skipped != 0 {
					t.Errorf("with nothing to skip: %+v", n)
				}
				if n := h.skip(events.PusherFilter{UserID: "@nobody:x"}); n.Pushers != 0 {
					t.Errorf("of nobody: %+v", n)
				}
				h.retryDead()
				<-time.After(time.Second)
				if got := delivered(h.gateway.Pokes(), "bob"); got != "r-1 r-2 r-0" {
					t.Errorf("after a retry bob got %s", got)
				}
				h.caughtUp()
			})
		})
	}
}

// A poke that the gateway takes while an operator asks is not put aside, and neither is the
// one after it.
func TestOperatorSkipsNothingThatArrives(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(always(eventstest.Reply{After: 3 * time.Second})) // it lags after one
		h.say("!r", "@alice:x", 0, 3)
		<-time.After(2 * time.Second)
		if n := h.skip(events.PusherFilter{UserID: "@bob:x"}); n.Pushers != 1 || n.Skipped != 0 {
			t.Errorf("skipped: %+v", n)
		}
		<-time.After(time.Minute)
		h.check("@bob:x", 0, "bob")
		if n := len(h.dead()); n != 0 {
			t.Errorf("%d dead letters", n)
		}
		h.caughtUp()
	})
}
