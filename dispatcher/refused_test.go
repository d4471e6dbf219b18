package dispatcher

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/deliver"
	"poked/events"
	"poked/events/eventstest"
)

// refusals returns the statuses with which a gateway that works may refuse a poke for what is
// in it.
func refusals() []int {
	return []int{
		http.StatusBadRequest, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity,
		http.StatusInternalServerError, http.StatusInsufficientStorage,
	}
}

// forEachRefusal runs a test in a bubble for each status.
func forEachRefusal(t *testing.T, test func(t *testing.T, h *harness, status int)) {
	t.Helper()
	forEach(t, refusals(), test)
}

// forEachKind runs a test that takes longer in a bubble for a status of each kind.
func forEachKind(t *testing.T, test func(t *testing.T, h *harness, status int)) {
	t.Helper()
	eventstest.Long(t)
	forEach(t, []int{http.StatusBadRequest, http.StatusInternalServerError}, test)
}

func forEach(t *testing.T, statuses []int, test func(t *testing.T, h *harness, status int)) {
	t.Helper()
	for _, status := range statuses {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) { test(t, h, status) })
		})
	}
}

// refusesWith returns the answers of a gateway that refuses some pokes with a status.
func refusesWith(status int, refused func(eventstest.Poke) bool) func(eventstest.Poke) eventstest.Reply {
	return func(p eventstest.Poke) eventstest.Reply {
		if refused(p) {
			return eventstest.Reply{Status: status}
		}
		return eventstest.Reply{}
	}
}

// aboutEvents returns a function that reports whether a poke is about one of the events.
func aboutEvents(ids ...string) func(eventstest.Poke) bool {
	return func(p eventstest.Poke) bool {
		for _, id := range ids {
			if string(p.EventID) == id {
				return true
			}
		}
		return false
	}
}

// refusedLetters checks the dead letters: one for each of the events and pushkeys, with the
// reason refused and the status.
func (h *harness) refusedLetters(status int, pushkey string, ids ...string) {
	h.t.Helper()
	found := map[string]int{}
	for _, l := range h.dead() {
		if l.Pushkey != pushkey {
			continue
		}
		found[string(l.EventID)]++
		if l.Reason != events.DeadRefused || l.LastError != fmt.Sprintf("http_%d", status) || l.Attempts == 0 || len(l.Message) == 0 {
			h.t.Errorf("dead letter of %s: %+v", l.EventID, l)
		}
	}
	for _, id := range ids {
		if found[id] != 1 {
			h.t.Errorf("%d dead letters of %s for %s, want 1", found[id], id, pushkey)
		}
	}
	if len(found) != len(ids) {
		h.t.Errorf("dead letters of %v for %s, want %v", found, pushkey, ids)
	}
}

// goesOn is how long a refused poke may delay its pusher.
const goesOn = 4 * time.Minute

// A poke that a gateway refuses for what is in it is put aside: its pusher gets what comes
// after it, and no other pusher notices.
func TestG13RefusedPokeDelaysNothingElse(t *testing.T) {
	forEachRefusal(t, func(t *testing.T, h *harness, status int) {
		h.register("@bob:x", "gw.test", "bob-1", "bob-2")
		h.register("@eve:x", "gw.test", "eve")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.room("!s", "@alice:x", "@eve:x")
		h.gateway.Answer(refusesWith(status, aboutEvents("$r-3")))
		for i := range 10 {
			h.say("!r", "@alice:x", i, 1)
			h.say("!s", "@alice:x", i, 1)
			<-time.After(10 * time.Second)
		}
		if n := strings.Count(delivered(h.gateway.Pokes(), "eve"), "s-"); n != 10 {
			t.Errorf("another pusher got %d of 10", n)
		}
		<-time.After(goesOn - 70*time.Second)
		for _, key := range []string{"bob-1", "bob-2"} {
			if got, want := delivered(h.gateway.Pokes(), key), "r-0 r-1 r-2 r-4 r-5 r-6 r-7 r-8 r-9"; got != want {
				t.Errorf("%s got %s, want %s", key, got, want)
			}
			h.refusedLetters(status, key, "$r-3")
		}
		h.check("@bob:x", 0, "bob-1", "bob-2")
		h.check("@eve:x", 0, "eve")
		h.caughtUp()
	})
}

// The same at a gateway that has no other pusher: its failures open the circuit breaker, and
// a probe finds out, even if the gateway takes its time.
func TestG13RefusedPokesOfTheOnlyPusher(t *testing.T) {
	for _, slow := range []time.Duration{0, 2 * deliver.Patience} {
		forEachRefusal(t, func(t *testing.T, h *harness, status int) {
			h.register("@bob:x", "gw.test", "bob")
			h.start()
			h.room("!r", "@alice:x", "@bob:x")
			answer := refusesWith(status, aboutEvents("$r-0", "$r-1", "$r-2"))
			h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
				reply := answer(p)
				reply.After = slow
				return reply
			})
			h.say("!r", "@alice:x", 0, 6)
			<-time.After(goesOn + time.Minute)
			if got := delivered(h.gateway.Pokes(), "bob"); got != "r-3 r-4 r-5" {
				t.Errorf("bob got %s", got)
			}
			h.refusedLetters(status, "bob", "$r-0", "$r-1", "$r-2")
			h.check("@bob:x", 0, "bob")
			h.caughtUp()
		})
	}
}

// While the gateway takes other pokes of the app, a pusher goes on however many are refused
// in a row: all those of one room, for instance.
func TestG13ManyRefusedInARow(t *testing.T) {
	forEachRefusal(t, func(t *testing.T, h *harness, status int) {
		h.register("@bob:x", "gw.test", "bob")
		h.register("@eve:x", "gw.test", "eve")
		h.start()
		h.room("!bad", "@alice:x", "@bob:x")
		h.room("!r", "@alice:x", "@bob:x", "@eve:x")
		h.gateway.Answer(refusesWith(status, func(p eventstest.Poke) bool { return p.RoomID == "!bad" }))
		h.say("!bad", "@alice:x", 0, 20)
		var bad []string
		for i := range 20 {
			bad = append(bad, fmt.Sprintf("$bad-%d", i))
		}
		for i := range 30 {
			h.say("!r", "@alice:x", i, 1)
			<-time.After(goesOn / 30)
		}
		if n := strings.Count(delivered(h.gateway.Pokes(), "bob"), "r-"); n != 30 {
			t.Errorf("bob got %d of 30", n)
		}
		h.refusedLetters(status, "bob", bad...)
		h.check("@bob:x", 0, "bob")
		h.caughtUp()
	})
}

// Refused pokes between others delay those only once.
func TestG13RefusedPokesBetweenOthers(t *testing.T) {
	forEachRefusal(t, func(t *testing.T, h *harness, status int) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!bad", "@alice:x", "@bob:x")
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(refusesWith(status, func(p eventstest.Poke) bool { return p.RoomID == "!bad" }))
		for i := range 20 {
			h.say("!bad", "@alice:x", i, 1)
			h.say("!r", "@alice:x", i, 1)
			<-time.After(time.Minute)
			if n := strings.Count(delivered(h.gateway.Pokes(), "bob"), "r-"); n < i-int(goesOn/time.Minute) {
				t.Fatalf("bob got %d of %d", n, i+1)
			}
		}
		<-time.After(goesOn)
		last := 0
		for i := range 20 {
			at := strings.Index(delivered(h.gateway.Pokes(), "bob")+" ", fmt.Sprintf("r-%d ", i))
			if at < last {
				t.Errorf("bob got %s", delivered(h.gateway.Pokes(), "bob"))
			}
			last = max(last, at)
		}
		for _, l := range h.dead() {
			if l.RoomID != "!bad" {
				t.Errorf("%s is a dead letter", l.EventID)
			}
		}
	})
}

// What a gateway refuses as too large it gets once more without content, and takes.
func TestG13TooLargePokeGoesAsEventIDOnly(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(refusesWith(http.StatusRequestEntityTooLarge, func(p eventstest.Poke) bool {
			return strings.Contains(string(p.Body), "hello 1")
		}))
		h.say("!r", "@alice:x", 0, 3)
		<-time.After(time.Second)
		if got := delivered(h.gateway.Pokes(), "bob"); got != "r-0 r-1 r-2" {
			t.Errorf("bob got %s", got)
		}
		for _, p := range h.gateway.Pokes() {
			if p.EventID == "$r-1" && (strings.Contains(string(p.Body), "content") || p.RoomID != "!r" || p.Unread != 2) {
				t.Errorf("sent once more: %s", p.Body)
			}
		}
		if n := len(h.gateway.Tried()); n != 4 {
			t.Errorf("%d requests, want 4", n)
		}
		h.refusedLetters(http.StatusRequestEntityTooLarge, "bob")
		h.caughtUp()
	})
}

// A pusher that has nothing else to get is compared with others of its app. It then gets the
// count that the poke would have carried.
func TestG13RefusedPokeWithNothingAfterIt(t *testing.T) {
	forEachRefusal(t, func(t *testing.T, h *harness, status int) {
		h.register("@bob:x", "gw.test", "bob")
		h.register("@eve:x", "gw.test", "eve")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.room("!s", "@alice:x", "@eve:x")
		h.gateway.Answer(refusesWith(status, aboutEvents("$r-0")))
		h.say("!r", "@alice:x", 0, 1)
		for i := range 2 * 15 * 60 / 5 { // the waits of a few tries, the longest of which grows
			h.say("!s", "@alice:x", i, 1)
			<-time.After(5 * time.Second)
		}
		h.refusedLetters(status, "bob", "$r-0")
		if got := badges(h.gateway.Pokes(), "bob"); got != "[1]" {
			t.Errorf("bob got %s, want the count alone", got)
		}
		h.say("!r", "@alice:x", 1, 1)
		<-time.After(time.Second)
		if got := delivered(h.gateway.Pokes(), "bob"); !strings.HasSuffix(got, "r-1") {
			t.Errorf("bob got %q", got)
		}
		h.caughtUp()
	})
}

// Without anything to compare with, a refused poke is kept, and what comes after it is tried
// at once, or with the next probe.
func TestG13RefusedPokeOfTheOnlyPusherIsKept(t *testing.T) {
	forEachRefusal(t, func(t *testing.T, h *harness, status int) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(refusesWith(status, aboutEvents("$r-0")))
		h.say("!r", "@alice:x", 0, 1)
		<-time.After(20 * time.Minute)
		h.refusedLetters(status, "bob")
		h.say("!r", "@alice:x", 1, 1)
		<-time.After(deliver.ProbeLimit + time.Second)
		h.refusedLetters(status, "bob", "$r-0")
		if got := delivered(h.gateway.Pokes(), "bob"); got != "r-1" {
			t.Errorf("bob got %s", got)
		}
		h.caughtUp()
	})
}

// A gateway that is broken for all loses nothing, whatever it answers meanwhile.
func TestG13BrokenGatewayIsNoRefusal(t *testing.T) {
	forEachKind(t, func(t *testing.T, h *harness, status int) {
		h.register("@bob:x", "gw.test", "bob")
		h.register("@eve:x", "gw.test", "eve")
		h.start()
		h.room("!r", "@alice:x", "@bob:x", "@eve:x")
		h.room("!s", "@alice:x", "@eve:x")
		for outage := range 2 {
			h.gateway.Answer(refusesWith(status, func(eventstest.Poke) bool { return true }))
			for i := range 10 {
				h.say("!r", "@alice:x", 100*outage+i, 1)
				<-time.After(time.Minute)
			}
			h.say("!s", "@alice:x", outage, 1)
			h.gateway.Answer(up())
			<-time.After(time.Hour) // the longest wait
		}
		if n := len(h.dead()); n != 0 {
			t.Errorf("%d dead letters", n)
		}
		h.check("@bob:x", 0, "bob")
		h.check("@eve:x", 0, "eve")
		h.caughtUp()
	})
}

// A pusher whose every poke is refused, while the gateway takes those of others, keeps what
// it has to get, but for one poke that came alone.
func TestG13RefusedPusherKeepsItsBacklog(t *testing.T) {
	forEachKind(t, func(t *testing.T, h *harness, status int) {
		h.register("@bob:x", "gw.test", "bob")
		h.register("@eve:x", "gw.test", "eve")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.room("!s", "@alice:x", "@eve:x")
		h.gateway.Answer(refusesWith(status, func(p eventstest.Poke) bool { return p.Pushkey == "bob" }))
		for i := range 60 {
			if i%15 == 0 {
				h.say("!r", "@alice:x", i/15, 1)
			}
			h.say("!s", "@alice:x", i, 1)
			<-time.After(time.Minute)
		}
		if n := len(h.dead()); n > 1 {
			t.Errorf("%d dead letters", n)
		}
		h.gateway.Answer(up())
		<-time.After(time.Hour)
		h.check("@bob:x", 0, "bob")
		if n := strings.Count(delivered(h.gateway.Pokes(), "bob"), "r-"); n < 3 {
			t.Errorf("bob got %d of 4", n)
		}
		h.caughtUp()
	})
}

// What is put aside stays so after a restart, and a restart in the middle loses nothing,
// whether the dispatcher stops or is killed.
func TestG13RefusedPokeAcrossRestarts(t *testing.T) {
	for _, kill := range []bool{false, true} {
		for _, status := range []int{http.StatusBadRequest, http.StatusInternalServerError} {
			t.Run(fmt.Sprintf("%d killed %t", status, kill), func(t *testing.T) {
				bubble(t, func(t *testing.T, h *harness) {
					h.register("@bob:x", "gw.test", "bob")
					h.register("@eve:x", "gw.test", "eve")
					h.start()
					h.room("!r", "@alice:x", "@bob:x")
					h.room("!s", "@alice:x", "@eve:x")
					h.gateway.Answer(refusesWith(status, aboutEvents("$r-1")))
					h.say("!r", "@alice:x", 0, 4)
					lives := 0
					restart := func() {
						if lives++; kill {
							h.kill()
						} else {
							h.halt()
						}
						h.start()
					}
					for range 5 { // in the middle
						<-time.After(7 * time.Second)
						h.say("!s", "@alice:x", lives, 1)
						restart()
					}
					<-time.After(2 * goesOn)
					h.refusedLetters(status, "bob", "$r-1")
					tried := func() (n int) {
						for _, p := range h.gateway.Tried() {
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
					if got := delivered(h.gateway.Pokes(), "bob"); got != "r-0 r-2 r-3" {
						t.Errorf("bob got %s", got)
					}
					h.check("@bob:x", 0, "bob")
					h.caughtUp()
				})
			})
		}
	}
}

// A badge that is refused delays nothing either.
func TestG13RefusedBadgeDelaysNothing(t *testing.T) {
	forEachRefusal(t, func(t *testing.T, h *harness, status int) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(refusesWith(status, func(p eventstest.Poke) bool { return p.EventID == "" }))
		h.say("!r", "@alice:x", 0, 2)
		<-time.After(time.Second)
		h.receipt("!r", "@bob:x", "m.read", "$r-0", "")
		<-time.After(goesOn)
		h.say("!r", "@alice:x", 2, 1)
		<-time.After(time.Second)
		if got := delivered(h.gateway.Pokes(), "bob"); got != "r-0 r-1 r-2" {
			t.Errorf("bob got %s", got)
		}
		h.caughtUp()
	})
}

// Whatever happens while the dead letter is stored, or the record of the lane after it,
// nothing is lost, and only a kill makes the gateway get twice what it took.
func TestG13FaultsWhileAPokeIsPutAside(t *testing.T) {
	for _, subject := range []string{"dead.", "$KV.BACKLOG."} {
		for name, fault := range eventstest.Faults() {
			t.Run(subject+" "+name, func(t *testing.T) {
				bubble(t, func(t *testing.T, h *harness) { putAsideWithFault(t, h, subject, fault) })
			})
		}
	}
}

func putAsideWithFault(t *testing.T, h *harness, subject string, fault eventstest.Fault) {
	t.Helper()
	h.register("@bob:x", "gw.test", "bob")
	h.start()
	h.room("!r", "@alice:x", "@bob:x")
	var happened func() bool
	h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
		switch {
		case p.EventID == "$r-0":
			return eventstest.Reply{Status: http.StatusBadRequest}
		case happened == nil:
			happened = h.link.Break(subject, fault)
		}
		return eventstest.Reply{}
	})
	h.say("!r", "@alice:x", 0, 3)
	<-time.After(goesOn)
	h.revive()
	<-time.After(goesOn)
	if happened == nil || !happened() {
		t.Error("the fault did not happen")
	}
	repeats := 0
	if fault == eventstest.Kill {
		repeats = 2
	}
	h.check("@bob:x", repeats, "bob")
	if n := len(h.dead()); n == 0 || n > 2 {
		t.Errorf("%d dead letters", n)
	}
	h.caughtUp()
}
