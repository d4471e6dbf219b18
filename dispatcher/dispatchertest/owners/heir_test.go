package owners_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
)

const bob = events.UserID("@bob:x")

// refresh sets the pusher with a new pushkey, as the client of the old one's device does, and
// keeps the old one or not.
func (h *harness) refresh(keep bool) {
	h.T.Helper()
	pushers := []events.Pusher{{Pushkey: "old"}, {Pushkey: "new", Follows: events.NewPusherID(bob, "app", "old")}}
	if !keep {
		pushers[1].Follows = "" // the registry knows the old one no more
		pushers = pushers[1:]
	}
	h.RegisterAll(bob, pushers...)
}

// got returns the numbers of the messages that a pushkey was sent.
func (h *harness) got(pushkey string) string {
	return strings.ReplaceAll(h.Delivered(pushkey), "r-", "")
}

// What waits for an old pushkey when its device sets a new one goes to the new one, in order and
// once, whatever becomes of the old one, of its poke in flight and of the dispatcher.
func TestG1NewPushkeyGetsWhatWaitedForTheOld(t *testing.T) {
	eventstest.Long(t)
	hangs := func(reply eventstest.Reply) func(eventstest.Poke) eventstest.Reply {
		return func(p eventstest.Poke) eventstest.Reply {
			if p.Pushkey == "old" {
				return reply
			}
			return eventstest.Reply{}
		}
	}
	for name, c := range map[string]struct {
		gateway func(eventstest.Poke) eventstest.Reply // until all was said
		then    func(*harness)                         // after the new pushkey is set
		old     string                                 // what the old one is sent of what came before that
		want    string                                 // what the new one is sent
	}{
		"the gateway was down":      {dispatchertest.Down(), func(*harness) {}, "", "0 1 2 3 4"},
		"the old one goes":          {dispatchertest.Down(), func(h *harness) { h.refresh(false) }, "", "0 1 2 3 4"},
		"the dispatcher is killed":  {dispatchertest.Down(), func(h *harness) { h.Kill(); h.Start() }, "", "0 1 2 3 4"},
		"the dispatcher is stopped": {dispatchertest.Down(), func(h *harness) { h.Halt(); h.Start() }, "", "0 1 2 3 4"},
		"in flight, delivered":      {hangs(eventstest.Reply{After: 40 * time.Second}), func(*harness) {}, "0", "1 2 3 4"},
		"in flight, failed":         {hangs(eventstest.Reply{After: 40 * time.Second, Status: http.StatusBadGateway}), func(*harness) {}, "", "0 1 2 3 4"},
		"in flight, and it goes":    {hangs(eventstest.Reply{After: 40 * time.Second, Status: http.StatusBadGateway}), func(h *harness) { h.refresh(false) }, "", "0 1 2 3 4"},
		"in flight, rejected":       {hangs(eventstest.Reply{After: 40 * time.Second, Body: `{"rejected":["old"]}`}), func(*harness) {}, "0", "0 1 2 3 4"},
		// It was the new one's, and goes with it, as with any pusher.
		"the new one goes": {dispatchertest.Down(), func(h *harness) { h.Register(bob, "gw.test", "old") }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Register(bob, "gw.test", "old")
				h.Start()
				h.Room("!r", "@alice:x", bob)
				h.Gateway.Answer(c.gateway)
				h.Say("!r", "@alice:x", 0, 3)
				<-time.After(10 * time.Second)
				h.refresh(true)
				<-time.After(time.Second)
				c.then(h)
				h.Say("!r", "@alice:x", 3, 2)
				<-time.After(time.Minute)
				h.GatewayUp()
				<-time.After(5 * time.Minute)
				if got := h.got("new"); got != c.want {
					t.Errorf("the new pushkey received %q, want %q", got, c.want)
				}
				got := slices.DeleteFunc(strings.Fields(h.got("old")), func(n string) bool { return n >= "3" })
				if strings.Join(got, " ") != c.old {
					t.Errorf("the old pushkey received %q, want %q", got, c.old)
				}
			})
		})
	}
}

// A pusher takes over once: what its older one lags with later is that one's own, also after a
// restart.
func TestNewPushkeyTakesOverOnce(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register(bob, "gw.test", "old")
		h.Start()
		h.Room("!r", "@alice:x", bob)
		h.GatewayDown()
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(time.Second)
		h.refresh(true)
		h.GatewayUp()
		<-time.After(10 * time.Minute)
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Pushkey == "old" {
				return eventstest.Reply{Status: http.StatusBadGateway}
			}
			return eventstest.Reply{}
		})
		h.Say("!r", "@alice:x", 1, 2)
		<-time.After(time.Minute)
		h.Halt()
		h.Start()
		<-time.After(time.Minute)
		h.refresh(true) // set again
		<-time.After(time.Minute)
		h.Kill()
		h.Start()
		h.GatewayUp()
		<-time.After(10 * time.Minute)
		if got := h.got("new"); got != "0 1 2" {
			t.Errorf("the new pushkey received %q", got)
		}
		if got := h.got("old"); got != "1 2" {
			t.Errorf("the old pushkey received %q", got)
		}
	})
}
