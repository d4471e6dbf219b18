package dispatchertest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/owner"
)

// Dead returns the dead letters.
func (h *Harness) Dead() []events.DeadLetter {
	h.T.Helper()
	var letters []events.DeadLetter
	for _, msg := range h.Server.Stored("DEAD", "dead.") {
		var letter events.DeadLetter
		if err := json.Unmarshal(msg.Data, &letter); err != nil {
			h.T.Fatal(err)
		}
		letters = append(letters, letter)
	}
	return letters
}

// Backlog returns how many pushers have a record in BACKLOG.
func (h *Harness) Backlog() int {
	h.T.Helper()
	n := 0
	for part := range h.Conn.Topology().Partitions {
		lagging, err := h.Conn.LoadBacklog(h.T.Context(), part)
		if err != nil {
			h.T.Fatal(err)
		}
		n += len(lagging)
	}
	return n
}

// CaughtUp waits until no pusher lags, which may take as long as the waits between tries.
func (h *Harness) CaughtUp() {
	h.T.Helper()
	for range 120 {
		if h.Backlog() == 0 {
			h.Balanced()
			return
		}
		<-time.After(5 * time.Second)
	}
	h.T.Errorf("%d pushers still lag", h.Backlog())
}

// Balanced checks that the accounting of the dispatcher balances. Counters and lanes are not
// read at the same moment, so while pokes are sent only a lasting difference counts.
func (h *Harness) Balanced() {
	h.T.Helper()
	gap := h.Dispatcher.Health().Gap
	for tries := 0; gap != 0 && tries < 100; tries++ {
		<-time.After(5 * time.Millisecond)
		gap = h.Dispatcher.Health().Gap
	}
	if gap != 0 {
		h.T.Errorf("the accounting does not balance by %d: %+v", gap, h.Dispatcher.Health())
	}
}

// LogOf returns the events that a user was notified of and has not read, in order. It
// works that out from the log in the simplest way; the owner of the partition must know the
// same ([Harness.Unread]).
func (h *Harness) LogOf(user events.UserID) []events.EventID {
	h.T.Helper()
	ids := []events.EventID{}
	for _, n := range h.Server.UnreadByLog(h.Conn, user) {
		ids = append(ids, n.Event)
	}
	return ids
}

// Unread returns the events that a user has not read, in order, as the owner of the user's
// partition knows them.
func (h *Harness) Unread(user events.UserID) []events.EventID {
	h.T.Helper()
	ids := []events.EventID{}
	for query := (owner.ListQuery{User: user, Limit: 100}); ; {
		page, next, err := owner.NewClient(h.Conn).ListNotifications(h.T.Context(), query)
		if err != nil {
			h.T.Fatal(err)
		}
		for _, n := range page {
			ids = append(ids, n.EventID)
		}
		if query.Before = next; next == 0 {
			slices.Reverse(ids)
			return ids
		}
	}
}

// Results are the pokes and dead letters of a test, by pushkey.
type Results struct {
	Arrived map[string][]eventstest.Poke // in order of arrival
	Dead    map[string]map[events.EventID]bool
}

// Results returns what has arrived and what is dead by now.
func (h *Harness) Results() Results {
	h.T.Helper()
	e := Results{Arrived: map[string][]eventstest.Poke{}, Dead: map[string]map[events.EventID]bool{}}
	for _, letter := range h.Dead() {
		if e.Dead[letter.Pushkey] == nil {
			e.Dead[letter.Pushkey] = map[events.EventID]bool{}
		}
		e.Dead[letter.Pushkey][letter.EventID] = true
	}
	arrived := h.Gateway.Pokes()
	slices.SortStableFunc(arrived, func(a, b eventstest.Poke) int { return a.At.Compare(b.At) })
	for _, p := range arrived {
		e.Arrived[p.Pushkey] = append(e.Arrived[p.Pushkey], p)
	}
	return e
}

// Check checks G1, G2 and G3 at the end of a test, for a user's pushers: each received every
// notification in the user's log or has a dead letter for it, in the order of the log, with
// at most repeats repetitions. The badge never falls, and no more is counted than is in the
// log.
func (h *Harness) Check(user events.UserID, repeats int, pushkeys ...string) {
	h.T.Helper()
	h.CheckResults(h.Results(), user, repeats, pushkeys...)
}

// CheckResults is [Harness.Check] with results that were read before.
func (h *Harness) CheckResults(e Results, user events.UserID, repeats int, pushkeys ...string) {
	h.T.Helper()
	log := h.LogOf(user)
	place := map[events.EventID]int{}
	for i, id := range log {
		if at, ok := place[id]; ok {
			h.T.Errorf("%s is twice in the log of %s, at %d and %d", id, user, at, i)
		}
		place[id] = i
	}
	for _, key := range pushkeys {
		h.checkPusher(e, key, place, repeats)
	}
}

func (h *Harness) checkPusher(e Results, pushkey string, place map[events.EventID]int, repeats int) {
	h.T.Helper()
	sent := map[events.EventID]bool{}
	newest, badge := -1, 0
	for _, p := range e.Arrived[pushkey] {
		at, known := place[p.EventID]
		if !known {
			h.T.Errorf("%s got %s, which is not in the log", pushkey, p.EventID)
			continue
		}
		if p.Unread < max(badge, at+1) || p.Unread > len(place) {
			h.T.Errorf("%s got %s with badge %d after %d; it is number %d of %d", pushkey, p.EventID, p.Unread, badge, at+1, len(place))
		}
		if at <= newest {
			if repeats--; repeats < 0 {
				h.T.Errorf("%s got %s again or too late", pushkey, p.EventID)
			}
		}
		newest, badge = max(newest, at), p.Unread
		sent[p.EventID] = true
	}
	for id := range place {
		if !sent[id] && !e.Dead[pushkey][id] {
			h.T.Errorf("%s never got %s", pushkey, id)
		}
	}
}

// History lists the requests that the gateway received, for a test that failed.
func (h *Harness) History() string {
	var b strings.Builder
	for _, p := range h.Gateway.Tried() {
		fmt.Fprintf(&b, "\n%s %s %s badge %d: %d", p.At.Format("04:05.000"), p.Pushkey, p.EventID, p.Unread, p.Status)
	}
	return b.String()
}

// Badges returns the counts of the pokes that the gateway accepted for a pushkey, those of
// badge-only pokes in brackets.
func (h *Harness) Badges(pushkey string) string { return Badges(h.Gateway.Pokes(), pushkey) }

// Badges returns the counts of a pushkey's pokes, those of badge-only pokes in brackets.
func Badges(pokes []eventstest.Poke, pushkey string) string {
	var all []string
	for _, p := range pokes {
		switch {
		case p.Pushkey != pushkey:
		case p.EventID == "":
			all = append(all, fmt.Sprintf("[%d]", p.Unread))
		default:
			all = append(all, fmt.Sprint(p.Unread))
		}
	}
	return strings.Join(all, " ")
}
