package dispatcher

import (
	"net/http"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// expire lets two pokes to bob's phone expire. His desk received them.
func (h *harness) expire() {
	h.t.Helper()
	h.cfg.PokeTTL = 10 * time.Minute
	h.register("@bob:x", "gw.test", "phone", "desk")
	h.register("@eve:x", "gw.test", "eve")
	h.start()
	h.room("!r", "@alice:x", "@bob:x", "@eve:x")
	h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
		if p.Pushkey == "phone" {
			return eventstest.Reply{Status: http.StatusBadGateway}
		}
		return eventstest.Reply{}
	})
	h.say("!r", "@alice:x", 0, 2)
	<-time.After(11 * time.Minute)
	h.gateway.Answer(up())
	h.caughtUp()
	if letters := h.dead(); len(letters) != 2 || letters[0].LastError != "http_502" {
		h.t.Fatalf("two expired, the dead letters are %+v", letters)
	}
}

// retryDead retries all dead letters as an operator does.
func (h *harness) retryDead() {
	h.t.Helper()
	for letter, err := range h.conn.DeadLetters(h.t.Context(), stream.DeadFilter{}) {
		if err == nil {
			err = h.conn.RetryDead(h.t.Context(), letter.Seq)
		}
		if err != nil {
			h.t.Error(err)
		}
	}
}

// A retried dead letter is sent only to the pusher that missed it, not to others, whether
// they lag or not.
func TestRetriedDeadLetterReachesItsPusherOnly(t *testing.T) {
	for _, others := range []string{"well", "lagging"} {
		t.Run(others, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.expire()
				if others == "lagging" {
					h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
						if p.Pushkey == "desk" {
							return eventstest.Reply{Status: http.StatusBadGateway}
						}
						return eventstest.Reply{}
					})
					h.say("!r", "@alice:x", 2, 1)
					<-time.After(time.Second)
				}
				h.retryDead()
				<-time.After(time.Minute)
				if got := delivered(h.gateway.Pokes(), "phone"); got != "r-0 r-1" && got != "r-2 r-0 r-1" {
					t.Errorf("the phone got %q", got)
				}
				h.say("!r", "@alice:x", 3, 1) // after what a lagging desk has to skip
				<-time.After(time.Second)
				h.gateway.Answer(up())
				h.caughtUp()
				want := map[string]string{"well": "r-0 r-1 r-3", "lagging": "r-0 r-1 r-2 r-3"}[others]
				for _, key := range []string{"desk", "eve"} {
					if got := delivered(h.gateway.Pokes(), key); got != want {
						t.Errorf("%s got %q, want %q", key, got, want)
					}
				}
				if letters := h.dead(); len(letters) != 0 {
					t.Errorf("%+v are left", letters)
				}
				if s := h.pushers(events.PusherFilter{State: "lagging"}); len(s) != 0 {
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
		h.expire()
		h.gateway.Answer(down())
		h.retryDead()
		<-time.After(2 * time.Minute)
		h.kill()
		h.start()
		<-time.After(2 * time.Minute)
		h.gateway.Answer(up())
		h.caughtUp()
		if got := delivered(h.gateway.Pokes(), "phone"); got != "r-0 r-1" {
			t.Errorf("the phone got %q", got)
		}
		if got := delivered(h.gateway.Pokes(), "desk"); got != "r-0 r-1" {
			t.Errorf("the desk got %q", got)
		}
	})
	bubble(t, func(t *testing.T, h *harness) {
		h.expire()
		h.gateway.Answer(down())
		h.retryDead()
		<-time.After(20 * time.Minute)
		if letters := h.dead(); len(letters) != 2 || letters[0].Pushkey != "phone" {
			t.Errorf("the dead letters are %+v", letters)
		}
	})
}
