package dispatcher

import (
	"net/http"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// expire has bob's phone miss two pokes for good that his desk got.
func (h *house) expire() {
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
	h.calm()
	if letters := h.dead(); len(letters) != 2 || letters[0].LastError != "http_502" {
		h.t.Fatalf("two expired, and the letters are %+v", letters)
	}
}

// retryDead has an operator retry all dead letters.
func (h *house) retryDead() {
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

// A dead letter is for the pusher that missed it, with the body that it would have
// had. Others are not told again, whether they are well or lag.
func TestRetriedDeadLetterReachesItsPusherOnly(t *testing.T) {
	for _, others := range []string{"well", "lagging"} {
		t.Run(others, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *house) {
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
					t.Errorf("the phone was told %q", got)
				}
				h.say("!r", "@alice:x", 3, 1) // beyond what a lagging desk has to pass over
				<-time.After(time.Second)
				h.gateway.Answer(up())
				h.calm()
				want := map[string]string{"well": "r-0 r-1 r-3", "lagging": "r-0 r-1 r-2 r-3"}[others]
				for _, key := range []string{"desk", "eve"} {
					if got := delivered(h.gateway.Pokes(), key); got != want {
						t.Errorf("%s was told %q, want %q", key, got, want)
					}
				}
				if letters := h.dead(); len(letters) != 0 {
					t.Errorf("left are %+v", letters)
				}
				if s := h.pushers(events.PusherFilter{State: "lagging"}); len(s) != 0 {
					t.Errorf("lagging: %+v", s)
				}
			})
		})
	}
}

// A poke that is tried again while its gateway is down waits like any other,
// through a crash, and may expire again.
func TestRetriedDeadLetterIsNotLost(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *house) {
		h.expire()
		h.gateway.Answer(down())
		h.retryDead()
		<-time.After(2 * time.Minute)
		h.kill()
		h.start()
		<-time.After(2 * time.Minute)
		h.gateway.Answer(up())
		h.calm()
		if got := delivered(h.gateway.Pokes(), "phone"); got != "r-0 r-1" {
			t.Errorf("the phone was told %q", got)
		}
		if got := delivered(h.gateway.Pokes(), "desk"); got != "r-0 r-1" {
			t.Errorf("the desk was told %q", got)
		}
	})
	bubble(t, func(t *testing.T, h *house) {
		h.expire()
		h.gateway.Answer(down())
		h.retryDead()
		<-time.After(20 * time.Minute)
		if letters := h.dead(); len(letters) != 2 || letters[0].Pushkey != "phone" {
			t.Errorf("the letters are %+v", letters)
		}
	})
}
