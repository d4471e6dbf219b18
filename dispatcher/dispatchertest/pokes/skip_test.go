package pokes_test

import (
	"net/http"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
)

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
				h.SpanHours()
				h.Register("@bob:x", "gw.test", "bob")
				h.Register("@eve:x", "gw.test", "eve")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x", "@eve:x")
				h.Gateway.Answer(dispatchertest.Always(reply))
				h.Say("!r", "@alice:x", 0, 3)
				<-time.After(70 * time.Second)
				if n := h.Skip(events.PusherFilter{UserID: "@bob:x"}); n.Pushers != 1 || n.Skipped != 1 {
					t.Errorf("skipped: %+v", n)
				}
				<-time.After(time.Second)
				letters := h.Dead()
				if len(letters) != 1 || letters[0].Reason != events.DeadSkipped || letters[0].Pushkey != "bob" ||
					letters[0].EventID != "$r-0" || letters[0].LastError == "" {
					t.Errorf("dead letters: %+v", letters)
				}
				if s := h.OnePusher("@bob:x"); s.State != "lagging" || s.Waiting != 2 {
					t.Errorf("bob: %+v", s)
				}
				h.Halt() // and what was put aside stays so
				h.Start()
				h.GatewayUp()
				<-time.After(2 * time.Hour)
				if got := h.Delivered("bob"); got != "r-1 r-2" {
					t.Errorf("bob got %s", got)
				}
				if got := h.Delivered("eve"); got != "r-0 r-1 r-2" {
					t.Errorf("eve got %s", got)
				}
				h.Check("@bob:x", 0, "bob")
				if n := h.Skip(events.PusherFilter{UserID: "@bob:x"}); n.Pushers != 1 || n.Skipped != 0 {
					t.Errorf("with nothing to skip: %+v", n)
				}
				if n := h.Skip(events.PusherFilter{UserID: "@nobody:x"}); n.Pushers != 0 {
					t.Errorf("of nobody: %+v", n)
				}
				h.RetryDead()
				<-time.After(time.Second)
				if got := h.Delivered("bob"); got != "r-1 r-2 r-0" {
					t.Errorf("after a retry bob got %s", got)
				}
				h.CaughtUp()
			})
		})
	}
}

// A poke that the gateway takes while an operator asks is not put aside, and neither is the
// one after it.
func TestOperatorSkipsNothingThatArrives(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{After: 3 * time.Second})) // it lags after one
		h.Say("!r", "@alice:x", 0, 3)
		<-time.After(2 * time.Second)
		if n := h.Skip(events.PusherFilter{UserID: "@bob:x"}); n.Pushers != 1 || n.Skipped != 0 {
			t.Errorf("skipped: %+v", n)
		}
		<-time.After(time.Minute)
		h.Check("@bob:x", 0, "bob")
		if n := len(h.Dead()); n != 0 {
			t.Errorf("%d dead letters", n)
		}
		h.CaughtUp()
	})
}
