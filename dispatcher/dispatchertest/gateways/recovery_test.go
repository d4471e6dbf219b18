package gateways_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events/eventstest"
)

// A pusher whose gateway answers more slowly than notifications arrive lags, instead of
// filling the window of its partition.
func TestG4BusyPusherDoesNotHoldUpItsPartition(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		busy, other := dispatchertest.SamePartition(h.Conn.Topology().Partitions)
		h.Register(busy, "slow.test", "busy")
		h.Register(other, "gw.test", "other")
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: 900 * time.Millisecond}
			}
			return eventstest.Reply{}
		})
		h.Start()
		h.Room("!busy", "@alice:x", busy)
		h.Room("!other", "@alice:x", other)
		h.Say("!busy", "@alice:x", 0, 1200)
		<-time.After(2 * time.Second)
		said := time.Now()
		h.Say("!other", "@alice:x", 0, 1)
		eventstest.WaitFor(t, "the other pusher", func() bool { return h.Delivered("other") != "" })
		if late := time.Since(said); late > 100*time.Millisecond {
			t.Errorf("the other pusher got its poke after %v", late)
		}
	})
}

// The only pusher of a gateway that was down for hours catches up within seconds of its
// recovery, however long its backoff has grown.
func TestG5LonePusherCatchesUpSoon(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(func(eventstest.Poke) eventstest.Reply { return eventstest.Reply{Status: http.StatusBadGateway} })
		h.Say("!r", "@alice:x", 0, 5)
		<-time.After(time.Hour)
		h.Gateway.Answer(func(eventstest.Poke) eventstest.Reply { return eventstest.Reply{} })
		back := time.Now()
		h.Arrived(5)
		if late := time.Since(back); late > 30*time.Second {
			t.Errorf("caught up %v after the gateway was back", late)
		}
	})
}

// The pause that a gateway asked for outlives a restart of the dispatcher.
func TestG6PauseOutlivesARestart(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@carol:x", "gw.test", "carol")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@carol:x")
		h.Room("!bob", "@alice:x", "@bob:x")
		h.Gateway.Answer(func(eventstest.Poke) eventstest.Reply {
			return eventstest.Reply{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"600"}}}
		})
		h.Say("!bob", "@alice:x", 0, 1)
		eventstest.WaitFor(t, "the refusal", func() bool { return len(h.Gateway.Tried()) == 1 })
		asked := time.Now()
		<-time.After(time.Second)
		h.Halt()
		h.Start()
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(9 * time.Minute)
		for _, p := range h.Gateway.Tried()[1:] {
			t.Errorf("%s was tried %v after the gateway asked for 10 minutes", p.Pushkey, p.At.Sub(asked))
		}
	})
}

// Notifications from before a user's pusher was removed count when the user sets one again.
func TestBadgeCountsWhatWasUnreadBeforeThePusherWasSetAgain(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 3)
		h.Arrived(3)
		h.Register("@bob:x", "gw.test")
		h.Register("@bob:x", "gw.test", "bob")
		h.Say("!r", "@alice:x", 3, 1)
		if pokes := h.Arrived(4); pokes[3].Unread != 4 {
			t.Errorf("the badge is %d, want 4", pokes[3].Unread)
		}
	})
}

// A restart does not make the only pusher of a gateway that is down wait longer.
func TestG5LonePusherIsTriedOftenAfterARestart(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: http.StatusBadGateway}))
		h.Say("!r", "@alice:x", 0, 5)
		<-time.After(time.Hour)
		h.Halt()
		h.Start()
		<-time.After(time.Hour)
		tried := h.Gateway.Tried()
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
// with few and with many events and users. Its successor writes them again, asks as little in
// both cases, and notifies nobody twice.
func TestG12MatchedAgainAtTheSameCost(t *testing.T) {
	eventstest.Long(t)
	few, many := matchedAgain(t, 2, 3), matchedAgain(t, 10, 240)
	if many > few+6 { // each of two partitions reads a part of the log once
		t.Errorf("%d requests for few, and %d for many", few, many)
	}
}

// matchedAgain returns how many requests a successor needs to match these many events, of
// these many users, again.
func matchedAgain(t *testing.T, users, count int) (requests int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := dispatchertest.New(t)
		t.Cleanup(func() { <-time.After(time.Minute) }) // until fasthttp's cleaners have ended
		all := h.Audience(users)
		h.Start()
		h.Room("!r", append(all, "@alice:x")...)
		<-time.After(time.Second)
		h.Link.Refuse("$KV.POSITIONS.match", 1000)
		h.Say("!r", "@alice:x", 0, count)
		h.Arrived(users * count)
		h.Kill()
		h.Begin()
		<-time.After(10 * time.Second)
		requests = h.Link.Asked("$JS.API.STREAM.MSG.GET.NOTIFICATIONS", "$JS.API.CONSUMER.CREATE.NOTIFICATIONS")
		unread := 0
		for _, user := range all {
			unread += len(h.Unread(user))
		}
		if unread != users*count {
			t.Errorf("%d notifications are unread, want %d", unread, users*count)
		}
	})
	return requests
}

// TestG12NothingIsPassedOverThatWasNotBehind starts a dispatcher that has many more
// notifications to send than the catch-up limit, while the gateway is well: they are sent,
// each of them. After a failure only the newest of the room is.
func TestG12NothingIsPassedOverThatWasNotBehind(t *testing.T) {
	eventstest.Long(t)
	for _, fails := range []bool{false, true} {
		bubble(t, func(t *testing.T, h *harness) {
			h.Register("@bob:x", "gw.test", "bob")
			h.Start()
			h.Room("!r", "@alice:x", "@bob:x")
			<-time.After(time.Second)
			h.Halt()
			h.Say("!r", "@alice:x", 0, 400)
			began := time.Now()
			h.Gateway.Answer(func(eventstest.Poke) eventstest.Reply {
				if fails && time.Since(began) < time.Minute {
					return eventstest.Reply{Status: http.StatusBadGateway}
				}
				return eventstest.Reply{After: 20 * time.Millisecond}
			})
			h.Start()
			<-time.After(5 * time.Minute)
			passed, got := h.Dispatcher.Stats().PassedOver, len(h.Gateway.Pokes())
			if fails && (passed == 0 || got >= 400) || !fails && (passed > 0 || got != 400) {
				t.Errorf("failing %t: %d pokes, %d passed over", fails, got, passed)
			}
		})
	}
}
