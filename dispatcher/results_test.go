package dispatcher

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"poked/dispatcher/deliver"
	"poked/events"
	"poked/events/eventstest"
)

// dead returns the dead letters.
func (h *harness) dead() []events.DeadLetter {
	h.t.Helper()
	var letters []events.DeadLetter
	for _, msg := range h.server.Stored("DEAD", "dead.") {
		var letter events.DeadLetter
		if err := json.Unmarshal(msg.Data, &letter); err != nil {
			h.t.Fatal(err)
		}
		letters = append(letters, letter)
	}
	return letters
}

// backlog returns how many pushers have a record in BACKLOG.
func (h *harness) backlog() int {
	h.t.Helper()
	n := 0
	for part := range h.conn.Partitions() {
		lagging, err := h.conn.LoadBacklog(h.t.Context(), part)
		if err != nil {
			h.t.Fatal(err)
		}
		n += len(lagging)
	}
	return n
}

// caughtUp waits until no pusher lags, which may take as long as the waits between tries.
func (h *harness) caughtUp() {
	h.t.Helper()
	for range 120 {
		if h.backlog() == 0 {
			h.balanced()
			return
		}
		<-time.After(5 * time.Second)
	}
	h.t.Errorf("%d pushers still lag", h.backlog())
}

// balanced checks that the accounting of the dispatcher balances. Counters and lanes are not
// read at the same moment, so while pokes are sent only a lasting difference counts.
func (h *harness) balanced() {
	h.t.Helper()
	gap := h.d.Health().Gap
	for tries := 0; gap != 0 && tries < 100; tries++ {
		<-time.After(5 * time.Millisecond)
		gap = h.d.Health().Gap
	}
	if gap != 0 {
		h.t.Errorf("the accounting does not balance by %d; %d are outstanding", gap, h.d.counts.Outstanding())
		for fate := range deliver.Fates {
			h.t.Errorf("%v: %d", fate, h.d.counts.Fate(fate))
		}
	}
}

// logOf returns the events that a user was notified of, in order.
func (h *harness) logOf(user events.UserID) []events.EventID {
	h.t.Helper()
	token := events.Token(user)
	part := events.PartitionOf(token, h.conn.Partitions())
	var ids []events.EventID
	for _, msg := range h.server.Stored("NOTIFICATIONS", fmt.Sprintf("notify.%d.%s.", part, token)) {
		n, err := events.ParseNotification(msg.Data)
		if err != nil {
			h.t.Fatal(err)
		}
		ids = append(ids, n.EventID)
	}
	return ids
}

// results are the pokes and dead letters of a test, by pushkey.
type results struct {
	arrived map[string][]eventstest.Poke // in order of arrival
	dead    map[string]map[events.EventID]bool
}

func (h *harness) results() results {
	h.t.Helper()
	e := results{arrived: map[string][]eventstest.Poke{}, dead: map[string]map[events.EventID]bool{}}
	for _, letter := range h.dead() {
		if e.dead[letter.Pushkey] == nil {
			e.dead[letter.Pushkey] = map[events.EventID]bool{}
		}
		e.dead[letter.Pushkey][letter.EventID] = true
	}
	arrived := h.gateway.Pokes()
	slices.SortStableFunc(arrived, func(a, b eventstest.Poke) int { return a.At.Compare(b.At) })
	for _, p := range arrived {
		e.arrived[p.Pushkey] = append(e.arrived[p.Pushkey], p)
	}
	return e
}

// check checks G1, G2 and G3 at the end of a test, for a user's pushers: each received every
// notification in the user's log or has a dead letter for it, in the order of the log, with
// at most repeats repetitions. The badge never falls, and no more is counted than is in the
// log.
func (h *harness) check(user events.UserID, repeats int, pushkeys ...string) {
	h.t.Helper()
	h.checkResults(h.results(), user, repeats, pushkeys...)
}

func (h *harness) checkResults(e results, user events.UserID, repeats int, pushkeys ...string) {
	h.t.Helper()
	log := h.logOf(user)
	place := map[events.EventID]int{}
	for i, id := range log {
		if at, ok := place[id]; ok {
			h.t.Errorf("%s is twice in the log of %s, at %d and %d", id, user, at, i)
		}
		place[id] = i
	}
	for _, key := range pushkeys {
		h.checkPusher(e, key, place, repeats)
	}
}

func (h *harness) checkPusher(e results, pushkey string, place map[events.EventID]int, repeats int) {
	h.t.Helper()
	sent := map[events.EventID]bool{}
	newest, badge := -1, 0
	for _, p := range e.arrived[pushkey] {
		at, known := place[p.EventID]
		if !known {
			h.t.Errorf("%s got %s, which is not in the log", pushkey, p.EventID)
			continue
		}
		if p.Unread < max(badge, at+1) || p.Unread > len(place) {
			h.t.Errorf("%s got %s with badge %d after %d; it is number %d of %d", pushkey, p.EventID, p.Unread, badge, at+1, len(place))
		}
		if at <= newest {
			if repeats--; repeats < 0 {
				h.t.Errorf("%s got %s again or too late", pushkey, p.EventID)
			}
		}
		newest, badge = max(newest, at), p.Unread
		sent[p.EventID] = true
	}
	for id := range place {
		if !sent[id] && !e.dead[pushkey][id] {
			h.t.Errorf("%s never got %s", pushkey, id)
		}
	}
}

// history lists the requests that the gateway received, for a test that failed.
func (h *harness) history() string {
	var b strings.Builder
	for _, p := range h.gateway.Tried() {
		fmt.Fprintf(&b, "\n%s %s %s badge %d: %d", p.At.Format("04:05.000"), p.Pushkey, p.EventID, p.Unread, p.Status)
	}
	return b.String()
}
