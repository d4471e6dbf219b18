package dispatcher

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"poked/events/eventstest"
	"poked/events/stream"
)

// A pusher whose gateway answers more slowly than notifications arrive lags, instead of
// filling the window of its partition.
func TestG4BusyPusherDoesNotHoldUpItsPartition(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
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
			t.Errorf("the other pusher got its poke after %v", late)
		}
	})
}

// The only pusher of a gateway that was down for hours catches up within seconds of its
// recovery, however long its backoff has grown.
func TestG5LonePusherCatchesUpSoon(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.spanHours()
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

// The pause that a gateway asked for outlives a restart of the dispatcher.
func TestG6PauseOutlivesARestart(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
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

// Notifications from before a user's pusher was removed count when the user sets one again.
func TestBadgeCountsWhatWasUnreadBeforeThePusherWasSetAgain(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
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

// A restart does not make the only pusher of a gateway that is down wait longer.
func TestG5LonePusherIsTriedOftenAfterARestart(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.spanHours()
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

// TestG12MatchedAgainAtTheSameCost kills a dispatcher whose match position is not stored,
// with few and with many events and users. Its successor finds out what was stored by as
// many requests in both cases, but for one that learns what a user has not read, and notifies
// nobody twice.
func TestG12MatchedAgainAtTheSameCost(t *testing.T) {
	few, many := matchedAgain(t, 2, 3)-2, matchedAgain(t, 20, 60)-20
	if many > few+4 {
		t.Errorf("%d requests for few, and %d for many", few, many)
	}
}

// matchedAgain returns how many requests a successor needs to match these many events, of
// these many users, again.
func matchedAgain(t *testing.T, users, count int) (requests int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		t.Cleanup(func() { <-time.After(time.Minute) }) // until fasthttp's cleaners have ended
		all := h.audience(users)
		h.start()
		h.room("!r", append(all, "@alice:x")...)
		<-time.After(time.Second)
		h.link.Refuse("$KV.POSITIONS.match", 1000)
		h.say("!r", "@alice:x", 0, count)
		h.arrived(users * count)
		h.kill()
		h.begin()
		<-time.After(10 * time.Second)
		requests = h.link.Asked("$JS.API.DIRECT.GET.NOTIFICATIONS", "$JS.API.STREAM.MSG.GET.NOTIFICATIONS", "$JS.API.CONSUMER.CREATE.NOTIFICATIONS")
		if stored := len(h.server.Stored(stream.Notifications, "notify.")); stored != users*count {
			t.Errorf("%d notifications are stored, want %d", stored, users*count)
		}
	})
	return requests
}

// TestG12NothingIsPassedOverThatWasNotBehind starts a dispatcher that has many more
// notifications to send than the catch-up limit, while the gateway is well: they are sent,
// each of them. After a failure only the newest of the room is.
func TestG12NothingIsPassedOverThatWasNotBehind(t *testing.T) {
	for _, fails := range []bool{false, true} {
		bubble(t, func(t *testing.T, h *harness) {
			h.register("@bob:x", "gw.test", "bob")
			h.start()
			h.room("!r", "@alice:x", "@bob:x")
			<-time.After(time.Second)
			h.halt()
			h.say("!r", "@alice:x", 0, 400)
			began := time.Now()
			h.gateway.Answer(func(eventstest.Poke) eventstest.Reply {
				if fails && time.Since(began) < time.Minute {
					return eventstest.Reply{Status: http.StatusBadGateway}
				}
				return eventstest.Reply{After: 20 * time.Millisecond}
			})
			h.start()
			<-time.After(5 * time.Minute)
			passed, got := h.d.Stats().PassedOver, len(h.gateway.Pokes())
			if fails && (passed == 0 || got >= 400) || !fails && (passed > 0 || got != 400) {
				t.Errorf("failing %t: %d pokes, %d passed over", fails, got, passed)
			}
		})
	}
}
