package dispatcher

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// dead returns the dead letters.
func (h *house) dead() []events.DeadLetter {
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

// backlog returns how many pushers are written down as lagging.
func (h *house) backlog() int {
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

// calm waits until nobody lags, which may take as long as the waits between
// tries.
func (h *house) calm() {
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

// balanced checks that the accounting of the dispatcher that works balances. While pokes
// are made they and the lanes are not read at the same moment, so only a difference
// that stays is one.
func (h *house) balanced() {
	h.t.Helper()
	gap := h.d.Health().Gap
	for tries := 0; gap != 0 && tries < 100; tries++ {
		<-time.After(5 * time.Millisecond)
		gap = h.d.Health().Gap
	}
	if gap != 0 {
		h.t.Errorf("the accounting does not balance by %d: %+v", gap, h.d.counts.Accounting())
	}
}

// logOf returns the events that a user was notified of, in order.
func (h *house) logOf(user events.UserID) []events.EventID {
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

// evidence is what there is to look at when a story is over, by pushkey.
type evidence struct {
	arrived map[string][]eventstest.Poke // in order of arrival
	buried  map[string]map[events.EventID]bool
}

func (h *house) evidence() evidence {
	h.t.Helper()
	e := evidence{arrived: map[string][]eventstest.Poke{}, buried: map[string]map[events.EventID]bool{}}
	for _, letter := range h.dead() {
		if e.buried[letter.Pushkey] == nil {
			e.buried[letter.Pushkey] = map[events.EventID]bool{}
		}
		e.buried[letter.Pushkey][letter.EventID] = true
	}
	arrived := h.gateway.Pokes()
	slices.SortStableFunc(arrived, func(a, b eventstest.Poke) int { return a.At.Compare(b.At) })
	for _, p := range arrived {
		e.arrived[p.Pushkey] = append(e.arrived[p.Pushkey], p)
	}
	return e
}

// promise checks what every story must end with, for a user's pushers: each
// notification in the user's log was told to each of them or stands in DEAD, in
// the log's order (G1, G3), and none was told twice but as often as says
// repeats (G2). The badge never goes back, and nothing is counted that is not
// in the log.
func (h *house) promise(user events.UserID, repeats int, pushkeys ...string) {
	h.t.Helper()
	h.promiseBy(h.evidence(), user, repeats, pushkeys...)
}

func (h *house) promiseBy(e evidence, user events.UserID, repeats int, pushkeys ...string) {
	h.t.Helper()
	log := h.logOf(user)
	place := map[events.EventID]int{}
	for i, id := range log {
		if at, ok := place[id]; ok {
			h.t.Errorf("%s stands twice in the log of %s, at %d and %d", id, user, at, i)
		}
		place[id] = i
	}
	for _, key := range pushkeys {
		h.promiseTo(e, key, place, repeats)
	}
}

func (h *house) promiseTo(e evidence, pushkey string, place map[events.EventID]int, repeats int) {
	h.t.Helper()
	told := map[events.EventID]bool{}
	newest, badge := -1, 0
	for _, p := range e.arrived[pushkey] {
		at, known := place[p.EventID]
		if !known {
			h.t.Errorf("%s was told %s, which is not in the log", pushkey, p.EventID)
			continue
		}
		if p.Unread < max(badge, at+1) || p.Unread > len(place) {
			h.t.Errorf("%s was told %s with badge %d after %d; it is number %d of %d", pushkey, p.EventID, p.Unread, badge, at+1, len(place))
		}
		if at <= newest {
			if repeats--; repeats < 0 {
				h.t.Errorf("%s was told %s again or too late", pushkey, p.EventID)
			}
		}
		newest, badge = max(newest, at), p.Unread
		told[p.EventID] = true
	}
	for id := range place {
		if !told[id] && !e.buried[pushkey][id] {
			h.t.Errorf("%s was never told %s", pushkey, id)
		}
	}
}

// history tells what the gateway saw, for a story that ended badly.
func (h *house) history() string {
	var b strings.Builder
	for _, p := range h.gateway.Tried() {
		fmt.Fprintf(&b, "\n%s %s %s badge %d: %d", p.At.Format("04:05.000"), p.Pushkey, p.EventID, p.Unread, p.Status)
	}
	return b.String()
}
