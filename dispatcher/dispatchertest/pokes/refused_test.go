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

// A poke that a gateway refuses for what is in it is put aside: its pusher gets what comes
// after it, and no other pusher notices.
func TestG13RefusedPokeDelaysNothingElse(t *testing.T) {
	forEachRefusal(t, func(t *testing.T, h *harness, status int) {
		h.Register("@bob:x", "gw.test", "bob-1", "bob-2")
		h.Register("@eve:x", "gw.test", "eve")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Room("!s", "@alice:x", "@eve:x")
		h.Gateway.Answer(refusesWith(status, aboutEvents("$r-3")))
		for i := range 10 {
			h.Say("!r", "@alice:x", i, 1)
			h.Say("!s", "@alice:x", i, 1)
			<-time.After(10 * time.Second)
		}
		if n := strings.Count(h.Delivered("eve"), "s-"); n != 10 {
			t.Errorf("another pusher got %d of 10", n)
		}
		<-time.After(goesOn - 70*time.Second)
		for _, key := range []string{"bob-1", "bob-2"} {
			if got, want := h.Delivered(key), "r-0 r-1 r-2 r-4 r-5 r-6 r-7 r-8 r-9"; got != want {
				t.Errorf("%s got %s, want %s", key, got, want)
			}
			h.refusedLetters(status, key, "$r-3")
		}
		h.Check("@bob:x", 0, "bob-1", "bob-2")
		h.Check("@eve:x", 0, "eve")
		h.CaughtUp()
	})
}

// The same at a gateway that has no other pusher: its failures open the circuit breaker, and
// a probe finds out, even if the gateway takes its time.
func TestG13RefusedPokesOfTheOnlyPusher(t *testing.T) {
	for _, slow := range []time.Duration{0, 2 * deliver.Patience} {
		forEachRefusal(t, func(t *testing.T, h *harness, status int) {
			h.Register("@bob:x", "gw.test", "bob")
			h.Start()
			h.Room("!r", "@alice:x", "@bob:x")
			answer := refusesWith(status, aboutEvents("$r-0", "$r-1", "$r-2"))
			h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
				reply := answer(p)
				reply.After = slow
				return reply
			})
			h.Say("!r", "@alice:x", 0, 6)
			<-time.After(goesOn + time.Minute)
			if got := h.Delivered("bob"); got != "r-3 r-4 r-5" {
				t.Errorf("bob got %s", got)
			}
			h.refusedLetters(status, "bob", "$r-0", "$r-1", "$r-2")
			h.Check("@bob:x", 0, "bob")
			h.CaughtUp()
		})
	}
}

// While the gateway takes other pokes of the app, a pusher goes on however many are refused
// in a row: all those of one room, for instance.
func TestG13ManyRefusedInARow(t *testing.T) {
	forEachRefusal(t, func(t *testing.T, h *harness, status int) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@eve:x", "gw.test", "eve")
		h.Start()
		h.Room("!bad", "@alice:x", "@bob:x")
		h.Room("!r", "@alice:x", "@bob:x", "@eve:x")
		h.Gateway.Answer(refusesWith(status, func(p eventstest.Poke) bool { return p.RoomID == "!bad" }))
		h.Say("!bad", "@alice:x", 0, 20)
		var bad []string
		for i := range 20 {
			bad = append(bad, fmt.Sprintf("$bad-%d", i))
		}
		for i := range 30 {
			h.Say("!r", "@alice:x", i, 1)
			<-time.After(goesOn / 30)
		}
		if n := strings.Count(h.Delivered("bob"), "r-"); n != 30 {
			t.Errorf("bob got %d of 30", n)
		}
		h.refusedLetters(status, "bob", bad...)
		h.Check("@bob:x", 0, "bob")
		h.CaughtUp()
	})
}

// Refused pokes between others delay those only once.
func TestG13RefusedPokesBetweenOthers(t *testing.T) {
	eventstest.Long(t)
	forEachRefusal(t, func(t *testing.T, h *harness, status int) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!bad", "@alice:x", "@bob:x")
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(refusesWith(status, func(p eventstest.Poke) bool { return p.RoomID == "!bad" }))
		for i := range 20 {
			h.Say("!bad", "@alice:x", i, 1)
			h.Say("!r", "@alice:x", i, 1)
			<-time.After(time.Minute)
			if n := strings.Count(h.Delivered("bob"), "r-"); n < i-int(goesOn/time.Minute) {
				t.Fatalf("bob got %d of %d", n, i+1)
			}
		}
		<-time.After(goesOn)
		last := 0
		for i := range 20 {
			at := strings.Index(h.Delivered("bob")+" ", fmt.Sprintf("r-%d ", i))
			if at < last {
				t.Errorf("bob got %s", h.Delivered("bob"))
			}
			last = max(last, at)
		}
		for _, l := range h.Dead() {
			if l.RoomID != "!bad" {
				t.Errorf("%s is a dead letter", l.EventID)
			}
		}
	})
}

// What a gateway refuses as too large it gets once more without content, and takes.
func TestG13TooLargePokeGoesAsEventIDOnly(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(refusesWith(http.StatusRequestEntityTooLarge, func(p eventstest.Poke) bool {
			return strings.Contains(string(p.Body), "hello 1")
		}))
		h.Say("!r", "@alice:x", 0, 3)
		<-time.After(time.Second)
		if got := h.Delivered("bob"); got != "r-0 r-1 r-2" {
			t.Errorf("bob got %s", got)
		}
		for _, p := range h.Gateway.Pokes() {
			if p.EventID == "$r-1" && (strings.Contains(string(p.Body), "content") || p.RoomID != "!r" || p.Unread != 2) {
				t.Errorf("sent once more: %s", p.Body)
			}
		}
		if n := len(h.Gateway.Tried()); n != 4 {
			t.Errorf("%d requests, want 4", n)
		}
		h.refusedLetters(http.StatusRequestEntityTooLarge, "bob")
		h.CaughtUp()
	})
}

// A badge that is refused delays nothing either.
func TestG13RefusedBadgeDelaysNothing(t *testing.T) {
	forEachRefusal(t, func(t *testing.T, h *harness, status int) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(refusesWith(status, func(p eventstest.Poke) bool { return p.EventID == "" }))
		h.Say("!r", "@alice:x", 0, 2)
		<-time.After(time.Second)
		h.Receipt("!r", "@bob:x", "m.read", "$r-0", "")
		<-time.After(goesOn)
		h.Say("!r", "@alice:x", 2, 1)
		<-time.After(time.Second)
		if got := h.Delivered("bob"); got != "r-0 r-1 r-2" {
			t.Errorf("bob got %s", got)
		}
		h.CaughtUp()
	})
}

// What the lane looks past may be refused as well, with nothing behind it yet: the next poke is
// tried as soon as it comes, and proves the case.
func TestG13RefusedPokesComeBeforeOthers(t *testing.T) {
	for _, bad := range []int{2, 4} { // fewer and as many as it looks past at a gateway that takes nothing else
		forEachRefusal(t, func(t *testing.T, h *harness, status int) {
			h.Register("@bob:x", "gw.test", "bob")
			h.Start()
			h.Room("!bad", "@alice:x", "@bob:x")
			h.Room("!r", "@alice:x", "@bob:x")
			h.Gateway.Answer(refusesWith(status, func(p eventstest.Poke) bool { return p.RoomID == "!bad" }))
			for i := range bad {
				h.Say("!bad", "@alice:x", i, 1)
				<-time.After(goesOn)
			}
			h.Say("!r", "@alice:x", 0, 1)
			<-time.After(time.Minute)
			if got := h.Delivered("bob"); got != "r-0" {
				t.Errorf("after %d refused ones bob got %q", bad, got)
			}
			h.CaughtUp()
		})
	}
}
