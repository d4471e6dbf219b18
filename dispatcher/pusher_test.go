package dispatcher_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
)

func TestRejectedPushkeyGetsNoMorePokes(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob", "other")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Pushkey == "bob" {
				return eventstest.Reply{Body: `{"rejected":["bob","somebody-else"]}`}
			}
			return eventstest.Reply{}
		})
		h.Say("!r", "@alice:x", 0, 4)
		<-time.After(time.Minute)
		h.Say("!r", "@alice:x", 4, 1)
		<-time.After(time.Second)
		if got := dispatchertest.Delivered(h.Gateway.Tried(), "bob"); got != "r-0" {
			t.Errorf("bob got %q after the pushkey was rejected", got)
		}
		h.Check("@bob:x", 0, "other")

		rejected := h.Server.Stored("REJECTED", "rejected.")
		if len(rejected) != 1 {
			t.Fatalf("%d rejections, want 1", len(rejected))
		}
		var r events.Rejection
		if err := json.Unmarshal(rejected[0].Data, &r); err != nil {
			t.Fatal(err)
		}
		if r.UserID != "@bob:x" || r.AppID != "app" || r.Pushkey != "bob" || r.PushkeyTS != 1 || r.Gateway != "http://gw.test:80" && r.Gateway != "http://gw.test" {
			t.Errorf("the rejection is %+v", r)
		}

		h.GatewayUp()
		h.Register("@bob:x", "gw.test", "bob", "other") // set again
		h.Say("!r", "@alice:x", 5, 1)
		<-time.After(time.Second)
		if got := dispatchertest.Delivered(h.Gateway.Tried(), "bob"); got != "r-0 r-5" {
			t.Errorf("bob got %q after the pusher was set again", got)
		}
	})
}

// A rejection of the old pusher does not remove the one that was set since.
func TestPusherSetAgainWhileARejectionIsOnItsWay(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Body: `{"rejected":["bob"]}`, After: 10 * time.Second}))
		h.Say("!r", "@alice:x", 0, 2)
		<-time.After(5 * time.Second)
		h.Register("@bob:x", "gw.test", "bob")
		h.GatewayUp()
		<-time.After(10 * time.Second)
		h.Say("!r", "@alice:x", 2, 1)
		h.CaughtUp()
		<-time.After(time.Second)
		if got := dispatchertest.Delivered(h.Gateway.Tried(), "bob"); got != "r-0 r-0 r-1 r-2" {
			t.Errorf("bob got %q", got)
		}
	})
}

func TestPusherRemovedWhileLaggingLeavesNothing(t *testing.T) {
	for _, when := range []string{"with a dispatcher", "without a dispatcher"} {
		t.Run(when, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Register("@bob:x", "gw.test", "bob", "other")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				h.GatewayDown()
				h.Say("!r", "@alice:x", 0, 1)
				<-time.After(time.Second)
				if n := h.Backlog(); n != 2 {
					t.Fatalf("%d pushers lag, want 2", n)
				}
				if when == "without a dispatcher" {
					h.Halt()
				}
				h.Register("@bob:x", "gw.test", "other")
				if when == "without a dispatcher" {
					h.Start()
				}
				<-time.After(time.Second)
				if n := h.Backlog(); n != 1 {
					t.Errorf("%d pushers lag, want the one that is left", n)
				}
				tried := len(h.Gateway.Tried())
				<-time.After(3 * time.Minute)
				if got := dispatchertest.Delivered(h.Gateway.Tried()[tried:], "bob"); got != "" {
					t.Errorf("a removed pusher got %q", got)
				}
			})
		})
	}
}

func TestPusherSetAgainWhileLaggingIsTriedAtOnce(t *testing.T) {
	for _, tc := range []struct {
		name string
		bad  eventstest.Reply
		wait time.Duration // until it is set again
		late time.Duration // from then to the poke, at most
	}{
		{"between two tries", eventstest.Reply{Status: http.StatusBadRequest}, 8 * time.Minute, time.Second},
		{"while a poke is in flight", eventstest.Reply{Status: http.StatusBadRequest, After: 70 * time.Second}, time.Minute, 11 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Register("@bob:x", "slow.test", "bob")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
					if p.Host == "slow.test" {
						return tc.bad
					}
					return eventstest.Reply{}
				})
				h.Say("!r", "@alice:x", 0, 2)
				<-time.After(tc.wait)
				set := time.Now()
				h.Register("@bob:x", "gw.test", "bob")
				<-time.After(20 * time.Second)
				pokes := h.Gateway.Pokes()
				if got := dispatchertest.Delivered(pokes, "bob"); got != "r-0 r-1" {
					t.Fatalf("bob got %q", got)
				}
				if late := pokes[0].At.Sub(set); late > tc.late {
					t.Errorf("the first poke arrived %v after the pusher was set again", late)
				}
			})
		})
	}
}

// A poke that outlives its time to live becomes a dead letter, and the next one is tried.
func TestExpiredPokeBecomesADeadLetter(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Config.PokeTTL = 10 * time.Minute
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.GatewayDown()
		h.Say("!r", "@alice:x", 0, 2)
		<-time.After(9 * time.Minute)
		h.Say("!r", "@alice:x", 2, 1)
		<-time.After(2 * time.Minute)
		h.GatewayUp()
		h.CaughtUp()
		if got := h.Delivered("bob"); got != "r-2" {
			t.Errorf("bob got %q", got)
		}
		letters := h.Dead()
		if len(letters) != 2 {
			t.Fatalf("%d dead letters, want 2", len(letters))
		}
		first := letters[0]
		if first.Reason != "expired" || first.EventID != "$r-0" || first.UserID != "@bob:x" || first.Pushkey != "bob" || first.AppID != "app" || first.Attempts == 0 || len(first.Message) == 0 {
			t.Errorf("the dead letter is %+v", first)
		}
		if n := h.Dispatcher.Stats().Expired; n != 2 {
			t.Errorf("%d expired, want 2", n)
		}
	})
}
