package dispatcher

import (
	"net/http"
	"testing"
	"time"

	"poked/events/eventstest"
)

// A pusher whose gateway answers in time, but not as fast as notifications come,
// lags instead of filling its partition's window.
func TestG4BusyPusherDoesNotHoldUpItsPartition(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		busy, other := samePartition(h.conn.Partitions())
		h.register(busy, "slow.test", "busy")
		h.register(other, "gw.test", "other")
		h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: 900 * time.Millisecond}
			}
			return eventstest.Reply{}
		})
		h.start()
		h.room("!busy", "@alice:x", busy)
		h.room("!other", "@alice:x", other)
		h.say("!busy", "@alice:x", 0, 1200)
		<-time.After(2 * time.Second)
		said := time.Now()
		h.say("!other", "@alice:x", 0, 1)
		eventstest.WaitFor(t, "the other pusher", func() bool { return delivered(h.gateway.Pokes(), "other") != "" })
		if late := time.Since(said); late > 100*time.Millisecond {
			t.Errorf("the other pusher was told after %v", late)
		}
	})
}

// A gateway that was down for hours is caught up within seconds, however long
// the waits of the one pusher there have grown.
func TestG5LonePusherIsToldSoonAfterItsGatewayIsBack(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(func(eventstest.Poke) eventstest.Reply { return eventstest.Reply{Status: http.StatusBadGateway} })
		h.say("!r", "@alice:x", 0, 5)
		<-time.After(time.Hour)
		h.gateway.Answer(func(eventstest.Poke) eventstest.Reply { return eventstest.Reply{} })
		back := time.Now()
		h.arrived(5)
		if late := time.Since(back); late > 30*time.Second {
			t.Errorf("caught up %v after the gateway was back", late)
		}
	})
}

// What a gateway asked for is asked of the dispatcher, not of one process.
func TestG6PauseOutlivesARestart(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.register("@bob:x", "gw.test", "bob")
		h.register("@carol:x", "gw.test", "carol")
		h.start()
		h.room("!r", "@alice:x", "@bob:x", "@carol:x")
		h.room("!bob", "@alice:x", "@bob:x")
		h.gateway.Answer(func(eventstest.Poke) eventstest.Reply {
			return eventstest.Reply{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"600"}}}
		})
		h.say("!bob", "@alice:x", 0, 1)
		eventstest.WaitFor(t, "the refusal", func() bool { return len(h.gateway.Tried()) == 1 })
		asked := time.Now()
		<-time.After(time.Second)
		h.halt()
		h.start()
		h.say("!r", "@alice:x", 0, 1)
		<-time.After(9 * time.Minute)
		for _, p := range h.gateway.Tried()[1:] {
			t.Errorf("%s was tried %v after the gateway asked for 10 minutes", p.Pushkey, p.At.Sub(asked))
		}
	})
}

// What a user had unread before their pusher went counts when they set one again.
func TestBadgeCountsWhatWasUnreadBeforeThePusherWasSetAgain(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.say("!r", "@alice:x", 0, 3)
		h.arrived(3)
		h.register("@bob:x", "gw.test")
		h.register("@bob:x", "gw.test", "bob")
		h.say("!r", "@alice:x", 3, 1)
		if pokes := h.arrived(4); pokes[3].Unread != 4 {
			t.Errorf("the badge is %d, want 4", pokes[3].Unread)
		}
	})
}

// A restart does not make a lone pusher wait longer for its gateway, which was
// down before and still is.
func TestG5LonePusherIsToldSoonAlsoAfterARestart(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *house) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(always(eventstest.Reply{Status: http.StatusBadGateway}))
		h.say("!r", "@alice:x", 0, 5)
		<-time.After(time.Hour)
		h.halt()
		h.start()
		<-time.After(time.Hour)
		tried := h.gateway.Tried()
		last := tried[0].At
		for _, p := range tried {
			if p.At.Sub(last) > 31*time.Second {
				t.Errorf("nothing was tried for %v", p.At.Sub(last))
			}
			last = p.At
		}
	})
}
