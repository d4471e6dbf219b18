package pokes_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"poked/events/eventstest"
	"poked/events/natstest"
)

// What is put aside stays so after a restart, and a restart in the middle loses nothing,
// whether the dispatcher stops or is killed.
func TestG13RefusedPokeAcrossRestarts(t *testing.T) {
	eventstest.Long(t)
	for _, kill := range []bool{false, true} {
		for _, status := range []int{http.StatusBadRequest, http.StatusInternalServerError} {
			t.Run(fmt.Sprintf("%d killed %t", status, kill), func(t *testing.T) {
				bubble(t, func(t *testing.T, h *harness) {
					h.SpanHours()
					h.Register("@bob:x", "gw.test", "bob")
					h.Register("@eve:x", "gw.test", "eve")
					h.Start()
					h.Room("!r", "@alice:x", "@bob:x")
					h.Room("!s", "@alice:x", "@eve:x")
					h.Gateway.Answer(refusesWith(status, aboutEvents("$r-1")))
					h.Say("!r", "@alice:x", 0, 4)
					lives := 0
					restart := func() {
						if lives++; kill {
							h.Kill()
						} else {
							h.Halt()
						}
						h.Start()
					}
					for range 5 { // in the middle
						<-time.After(7 * time.Second)
						h.Say("!s", "@alice:x", lives, 1)
						restart()
					}
					<-time.After(2 * goesOn)
					h.refusedLetters(status, "bob", "$r-1")
					tried := func() (n int) {
						for _, p := range h.Gateway.Tried() {
							if p.EventID == "$r-1" {
								n++
							}
						}
						return n
					}
					before := tried()
					for range 3 {
						restart()
						<-time.After(time.Minute)
					}
					if after := tried(); after != before {
						t.Errorf("what was put aside was tried %d times more", after-before)
					}
					if got := h.Delivered("bob"); got != "r-0 r-2 r-3" {
						t.Errorf("bob got %s", got)
					}
					h.Check("@bob:x", 0, "bob")
					h.CaughtUp()
				})
			})
		}
	}
}

// Whatever happens while the dead letter is stored, or the record of the lane after it,
// nothing is lost, and only a kill makes the gateway get twice what it took.
func TestG13FaultsWhileAPokeIsPutAside(t *testing.T) {
	eventstest.Long(t)
	for _, subject := range []string{"dead.", "$KV.BACKLOG."} {
		for name, fault := range natstest.Faults() {
			t.Run(subject+" "+name, func(t *testing.T) {
				bubble(t, func(t *testing.T, h *harness) { putAsideWithFault(t, h, subject, fault) })
			})
		}
	}
}

func putAsideWithFault(t *testing.T, h *harness, subject string, fault natstest.Fault) {
	t.Helper()
	h.Register("@bob:x", "gw.test", "bob")
	h.Start()
	h.Room("!r", "@alice:x", "@bob:x")
	var happened func() bool
	h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
		switch {
		case p.EventID == "$r-0":
			return eventstest.Reply{Status: http.StatusBadRequest}
		case happened == nil:
			happened = h.Link.Break(subject, fault)
		}
		return eventstest.Reply{}
	})
	h.Say("!r", "@alice:x", 0, 3)
	<-time.After(goesOn)
	h.Revive()
	<-time.After(goesOn)
	if happened == nil || !happened() {
		t.Error("the fault did not happen")
	}
	repeats := 0
	if fault == natstest.Kill {
		repeats = 2
	}
	h.Check("@bob:x", repeats, "bob")
	if n := len(h.Dead()); n == 0 || n > 2 {
		t.Errorf("%d dead letters", n)
	}
	h.CaughtUp()
}
