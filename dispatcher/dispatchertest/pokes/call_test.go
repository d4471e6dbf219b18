package pokes_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/deliver"
	"poked/events/eventstest"
)

// call publishes that somebody calls, in a room, for a minute.
func (h *harness) call(id string) { h.callAt(id, time.Now()) }

// callAt is call for one that began at a time.
func (h *harness) callAt(id string, at time.Time) {
	h.T.Helper()
	h.Publish(fmt.Sprintf(`{"event_id":"$%s","room_id":"!r","type":"m.call.invite","sender":"@alice:x","origin_server_ts":%d,"content":{"call_id":"c","lifetime":60000}}`,
		id, at.UnixMilli()))
}

// called starts a dispatcher with a pusher in the room in which somebody calls.
func (h *harness) called() {
	h.T.Helper()
	h.Register("@bob:x", "gw.test", "bob")
	h.Start()
	h.Room("!r", "@alice:x", "@bob:x")
}

// want checks what the pusher got, and the counts: none falls, a call that went ahead has none, and
// the last one is right.
func (h *harness) want(delivered string, last int) {
	h.T.Helper()
	if got := strings.Join(strings.Fields(h.Delivered("bob")), " "); got != delivered {
		h.T.Errorf("bob got %s, want %s:%s", got, delivered, h.History())
	}
	badge := 0
	for _, p := range h.Gateway.Pokes() {
		if !strings.Contains(string(p.Body), `"unread"`) {
			continue
		}
		if p.Unread < badge {
			h.T.Errorf("the count fell: %s", h.Badges("bob"))
		}
		badge = p.Unread
	}
	if badge != last {
		h.T.Errorf("the last count is %d, want %d: %s", badge, last, h.Badges("bob"))
	}
	if dead := h.Dead(); len(dead) > 0 {
		h.T.Errorf("dead letters: %+v", dead)
	}
	h.CaughtUp()
}

// The poke of a call goes before all others of its pusher, but the one in flight. All else
// keeps its order, and the count does not go back.
func TestG3CallGoesBeforeWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.called()
		h.Gateway.Answer(func(eventstest.Poke) eventstest.Reply { return eventstest.Reply{After: deliver.Patience / 2} })
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(deliver.Patience / 10) // it is in flight
		h.Say("!r", "@alice:x", 1, 2)
		h.call("call")
		h.Say("!r", "@alice:x", 3, 2)
		<-time.After(time.Minute)
		h.want("r-0 call r-1 r-2 r-3 r-4", 6)
	})
}

// A call without anything before it takes no way of its own: it carries the count, and nothing is stored for
// it.
func TestCallAloneIsAPokeLikeAnyOther(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.called()
		h.call("call")
		h.Arrived(1)
		h.Say("!r", "@alice:x", 0, 1)
		h.Arrived(2)
		h.want("call r-0", 2)
		if got := h.Badges("bob"); got != "1 2" {
			t.Errorf("counts are %s", got)
		}
	})
}

// It also goes first at a pusher that lags, and does not wait for the backoff of what failed before it.
func TestG3CallGoesFirstAtAPusherThatLags(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.called()
		h.Register("@carol:x", "gw.test", "carol") // the gateway works
		h.Room("!s", "@alice:x", "@carol:x")
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.RoomID == "!r" && p.EventID != "$call" {
				return eventstest.Reply{Status: http.StatusBadRequest}
			}
			return eventstest.Reply{}
		})
		h.Say("!r", "@alice:x", 0, 2)
		<-time.After(90 * time.Second)
		h.Say("!s", "@alice:x", 0, 1)
		h.call("call")
		<-time.After(time.Second)
		if got := h.Delivered("bob"); got != "call" {
			t.Errorf("bob got %s", got)
		}
		h.GatewayUp()
		<-time.After(10 * time.Minute)
		h.want("call r-0 r-1", 3)
	})
}

// A call that is over is not sent, whatever it waited for, and is no dead letter: its user has it
// to read, so the count follows.
func TestCallThatIsOverDoesNotRing(t *testing.T) {
	for name, say := range map[string]func(h *harness){
		"gateway was down": func(h *harness) {
			h.GatewayDown()
			h.Say("!r", "@alice:x", 0, 1)
			h.call("call")
			<-time.After(2 * time.Minute)
			h.GatewayUp()
		},
		"it is the last": func(h *harness) {
			h.Say("!r", "@alice:x", 0, 1)
			h.Arrived(1)
			h.GatewayDown()
			h.call("call")
			<-time.After(2 * time.Minute)
			h.GatewayUp()
		},
		"it was over when it came": func(h *harness) {
			h.Say("!r", "@alice:x", 0, 1)
			h.Arrived(1)
			h.callAt("call", time.Now().Add(-time.Hour))
		},
		"the dispatcher was away": func(h *harness) {
			h.Halt()
			h.Say("!r", "@alice:x", 0, 1)
			h.call("call")
			<-time.After(2 * time.Minute)
			h.Start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(_ *testing.T, h *harness) {
				h.SpanHours()
				h.called()
				say(h)
				<-time.After(5 * time.Minute)
				h.want("r-0", 2)
			})
		})
	}
}

// A pusher that gets only the newest notification of each room gets the newest that is not a
// call which is over.
func TestG1NewestOfARoomIsNoCallThatIsOver(t *testing.T) {
	bubble(t, func(_ *testing.T, h *harness) {
		h.SpanHours()
		h.Config.CatchUpLimit = 5
		h.called()
		h.GatewayDown()
		h.Say("!r", "@alice:x", 0, 10)
		h.call("call")
		<-time.After(3 * time.Minute)
		h.GatewayUp()
		<-time.After(5 * time.Minute)
		h.want("r-9", 11)
	})
}

// A call that was delivered before what waits is not sent again by the next owner.
func TestG2CallIsNotSentAgainAfterACrash(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(_ *testing.T, h *harness) {
		h.SpanHours()
		h.called()
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.EventID != "$call" {
				return eventstest.Reply{Status: http.StatusBadGateway}
			}
			return eventstest.Reply{}
		})
		h.Say("!r", "@alice:x", 0, 2)
		<-time.After(10 * time.Second)
		h.call("call")
		h.Arrived(1)
		<-time.After(time.Second)
		h.Kill()
		h.Start()
		h.GatewayUp()
		<-time.After(time.Hour)
		h.want("call r-0 r-1", 3)
	})
}

// A call that the gateway refuses holds up nothing: it is tried again in its turn.
func TestG13RefusedCallHoldsUpNothing(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.called()
		h.GatewayDown()
		h.Say("!r", "@alice:x", 0, 2)
		<-time.After(5 * time.Second)
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.EventID == "$call" {
				return eventstest.Reply{Status: http.StatusBadRequest}
			}
			return eventstest.Reply{}
		})
		h.call("call")
		<-time.After(59 * time.Second) // it still rings
		if got := strings.TrimSpace(h.Delivered("bob")); got != "r-0 r-1" {
			t.Errorf("bob got %s:%s", got, h.History())
		}
		<-time.After(10 * time.Minute)
		h.want("r-0 r-1", 3)
	})
}

// Without --rings a call is a notification like any other.
func TestCallsWithoutRings(t *testing.T) {
	bubble(t, func(_ *testing.T, h *harness) {
		h.SpanHours()
		h.Config.Rings = false
		h.called()
		h.GatewayDown()
		h.Say("!r", "@alice:x", 0, 1)
		h.call("call")
		<-time.After(10 * time.Minute)
		h.GatewayUp()
		<-time.After(10 * time.Minute)
		h.want("r-0 call", 2)
	})
}
