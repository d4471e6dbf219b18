package pokes_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

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

// refusalKinds returns a status of each kind.
func refusalKinds() []int { return []int{http.StatusBadRequest, http.StatusInternalServerError} }

// forEachRefusal runs a test in a bubble for each status; with -short for one of each kind.
func forEachRefusal(t *testing.T, test func(t *testing.T, h *harness, status int)) {
	t.Helper()
	statuses := refusals()
	if testing.Short() {
		statuses = refusalKinds()
	}
	forEach(t, statuses, test)
}

// forEachKind runs a test that takes longer in a bubble for a status of each kind.
func forEachKind(t *testing.T, test func(t *testing.T, h *harness, status int)) {
	t.Helper()
	eventstest.Long(t)
	forEach(t, refusalKinds(), test)
}

func forEach(t *testing.T, statuses []int, test func(t *testing.T, h *harness, status int)) {
	t.Helper()
	for _, status := range statuses {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.SpanHours()
				test(t, h, status)
			})
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
	h.T.Helper()
	found := map[string]int{}
	for _, l := range h.Dead() {
		if l.Pushkey != pushkey {
			continue
		}
		found[string(l.EventID)]++
		if l.Reason != events.DeadRefused || l.LastError != fmt.Sprintf("http_%d", status) || l.Attempts == 0 || len(l.Message) == 0 {
			h.T.Errorf("dead letter of %s: %+v", l.EventID, l)
		}
	}
	for _, id := range ids {
		if found[id] != 1 {
			h.T.Errorf("%d dead letters of %s for %s, want 1", found[id], id, pushkey)
		}
	}
	if len(found) != len(ids) {
		h.T.Errorf("dead letters of %v for %s, want %v", found, pushkey, ids)
	}
}

// goesOn is how long a refused poke may delay its pusher.
const goesOn = 4 * time.Minute

// notAtATick is longer than a try takes. No retry begins just then: they are due when a clock ticks.
const notAtATick = 1234 * time.Millisecond
