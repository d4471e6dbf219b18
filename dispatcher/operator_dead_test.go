package dispatcher_test

import (
	"net/http"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// expire lets two pokes to bob's phone expire. His desk received them.
func (h *harness) expire() {
	h.T.Helper()
	h.Config.PokeTTL = 10 * time.Minute
	h.Register("@bob:x", "gw.test", "phone", "desk")
	h.Register("@eve:x", "gw.test", "eve")
	h.Start()
	h.Room("!r", "@alice:x", "@bob:x", "@eve:x")
	h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
		if p.Pushkey == "phone" {
			return eventstest.Reply{Status: http.StatusBadGateway}
		}
		return eventstest.Reply{}
	})
	h.Say("!r", "@alice:x", 0, 2)
	<-time.After(11 * time.Minute)
	h.GatewayUp()
	h.CaughtUp()
	if letters := h.Dead(); len(letters) != 2 || letters[0].LastError != "http_502" {
		h.T.Fatalf("two expired, the dead letters are %+v", letters)
	}
}

// A retried dead letter is sent only to the pusher that missed it, not to others, whether
// they lag or not.
func TestRetriedDeadLetterReachesItsPusherOnly(t *testing.T) {
	for _, others := range []string{"well", "lagging"} {
		t.Run(others, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.SpanHours()
				h.expire()
				if others == "lagging" {
					h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
						if p.Pushkey == "desk" {
							return eventstest.Reply{Status: http.StatusBadGateway}
						}
						return eventstest.Reply{}
					})
					h.Say("!r", "@alice:x", 2, 1)
					<-time.After(time.Second)
				}
				h.RetryDead()
				<-time.After(time.Minute)
				if got := h.Delivered("phone"); got != "r-0 r-1" && got != "r-2 r-0 r-1" {
					t.Errorf("the phone got %q", got)
				}
				h.Say("!r", "@alice:x", 3, 1) // after what a lagging desk has to skip
				<-time.After(time.Second)
				h.GatewayUp()
				h.CaughtUp()
				want := map[string]string{"well": "r-0 r-1 r-3", "lagging": "r-0 r-1 r-2 r-3"}[others]
				for _, key := range []string{"desk", "eve"} {
					if got := h.Delivered(key); got != want {
						t.Errorf("%s got %q, want %q", key, got, want)
					}
				}
				if letters := h.Dead(); len(letters) != 0 {
					t.Errorf("%+v are left", letters)
				}
				if s := h.Pushers(events.PusherFilter{State: "lagging"}); len(s) != 0 {
					t.Errorf("lagging: %+v", s)
				}
			})
		})
	}
}

// A dead letter that is retried while its gateway is down waits like any other poke, also
// through a crash, and may expire again.
func TestRetriedDeadLetterIsNotLost(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.expire()
		h.GatewayDown()
		h.RetryDead()
		<-time.After(2 * time.Minute)
		h.Kill()
		h.Start()
		<-time.After(2 * time.Minute)
		h.GatewayUp()
		h.CaughtUp()
		if got := h.Delivered("phone"); got != "r-0 r-1" {
			t.Errorf("the phone got %q", got)
		}
		if got := h.Delivered("desk"); got != "r-0 r-1" {
			t.Errorf("the desk got %q", got)
		}
	})
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.expire()
		h.GatewayDown()
		h.RetryDead()
		<-time.After(20 * time.Minute)
		if letters := h.Dead(); len(letters) != 2 || letters[0].Pushkey != "phone" {
			t.Errorf("the dead letters are %+v", letters)
		}
	})
}
