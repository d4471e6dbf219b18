package pokes_test

import (
	"strings"
	"testing"
	"time"

	"poked/dispatcher/deliver"
	"poked/events/eventstest"
)

// A pusher that has nothing else to get is compared with others of its app. It then gets the
// count that the poke would have carried.
func TestG13RefusedPokeWithNothingAfterIt(t *testing.T) {
	eventstest.Long(t)
	forEachRefusal(t, func(t *testing.T, h *harness, status int) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@eve:x", "gw.test", "eve")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Room("!s", "@alice:x", "@eve:x")
		h.Gateway.Answer(refusesWith(status, aboutEvents("$r-0")))
		h.Say("!r", "@alice:x", 0, 1)
		for i := range 2 * 15 * 60 / 5 { // the waits of a few tries, the longest of which grows
			h.Say("!s", "@alice:x", i, 1)
			<-time.After(5 * time.Second)
		}
		h.refusedLetters(status, "bob", "$r-0")
		if got := h.Badges("bob"); got != "[1]" {
			t.Errorf("bob got %s, want the count alone", got)
		}
		h.Say("!r", "@alice:x", 1, 1)
		<-time.After(time.Second)
		if got := h.Delivered("bob"); !strings.HasSuffix(got, "r-1") {
			t.Errorf("bob got %q", got)
		}
		h.CaughtUp()
	})
}

// Without anything to compare with, a refused poke is kept, and what comes after it is tried
// at once, or with the next probe.
func TestG13RefusedPokeOfTheOnlyPusherIsKept(t *testing.T) {
	eventstest.Long(t)
	forEachRefusal(t, func(t *testing.T, h *harness, status int) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(refusesWith(status, aboutEvents("$r-0")))
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(20 * time.Minute)
		h.refusedLetters(status, "bob")
		h.Say("!r", "@alice:x", 1, 1)
		<-time.After(deliver.ProbeLimit + time.Second)
		h.refusedLetters(status, "bob", "$r-0")
		if got := h.Delivered("bob"); got != "r-1" {
			t.Errorf("bob got %s", got)
		}
		h.CaughtUp()
	})
}

// A gateway that is broken for all loses nothing, whatever it answers meanwhile. It is back between
// two tries: one that has begun before it takes a poke looks like a refusal of what is in one.
func TestG13BrokenGatewayIsNoRefusal(t *testing.T) {
	forEachKind(t, func(t *testing.T, h *harness, status int) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@eve:x", "gw.test", "eve")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@eve:x")
		h.Room("!s", "@alice:x", "@eve:x")
		for outage := range 2 {
			h.Gateway.Answer(refusesWith(status, func(eventstest.Poke) bool { return true }))
			for i := range 10 {
				h.Say("!r", "@alice:x", 100*outage+i, 1)
				<-time.After(time.Minute)
			}
			h.Say("!s", "@alice:x", outage, 1)
			<-time.After(notAtATick) // until it was tried
			h.GatewayUp()
			<-time.After(time.Hour) // the longest wait
		}
		if n := len(h.Dead()); n != 0 {
			t.Errorf("%d dead letters", n)
		}
		h.Check("@bob:x", 0, "bob")
		h.Check("@eve:x", 0, "eve")
		h.CaughtUp()
	})
}

// A pusher whose every poke is refused, while the gateway takes those of others, keeps what
// it has to get, but for one poke that came alone.
func TestG13RefusedPusherKeepsItsBacklog(t *testing.T) {
	forEachKind(t, func(t *testing.T, h *harness, status int) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@eve:x", "gw.test", "eve")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Room("!s", "@alice:x", "@eve:x")
		h.Gateway.Answer(refusesWith(status, func(p eventstest.Poke) bool { return p.Pushkey == "bob" }))
		for i := range 60 {
			if i%15 == 0 {
				h.Say("!r", "@alice:x", i/15, 1)
			}
			h.Say("!s", "@alice:x", i, 1)
			<-time.After(time.Minute)
		}
		if n := len(h.Dead()); n > 1 {
			t.Errorf("%d dead letters", n)
		}
		h.GatewayUp()
		<-time.After(time.Hour)
		h.Check("@bob:x", 0, "bob")
		if n := strings.Count(h.Delivered("bob"), "r-"); n < 3 {
			t.Errorf("bob got %d of 4", n)
		}
		h.CaughtUp()
	})
}
