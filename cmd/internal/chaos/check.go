package chaos

import (
	"fmt"
	"slices"
	"time"

	"poked/events"
)

// checker checks a history and writes a report.
type checker struct {
	*history

	report  *report
	first   map[delivery]int      // index of the first accepted poke
	byKey   map[string][]*request // accepted requests, in order of arrival
	owners  map[string]*person    // by pushkey
	rooms   map[events.RoomID]*chatRoom
	numbers map[events.EventID]int // position in its room
}

// check checks everything.
func (h *history) check() *report {
	c := &checker{
		history: h, report: newReport(h),
		first: map[delivery]int{}, byKey: map[string][]*request{}, owners: map[string]*person{},
		rooms: map[events.RoomID]*chatRoom{}, numbers: map[events.EventID]int{},
	}
	c.index()
	c.losses()
	c.storage()
	c.order()
	c.badges()
	c.repeats()
	c.report.Resumed, c.report.Stoppages = c.resumptions(), c.logs.stoppages
	return c.report
}

func (c *checker) index() {
	for _, u := range c.people.users {
		for _, key := range u.pushkeys {
			c.owners[key] = u
		}
	}
	for _, room := range c.people.rooms {
		c.rooms[room.id] = room
		for n, u := range room.said {
			if u.kind == isMessage {
				c.numbers[u.event] = n
			}
		}
	}
	for n := range c.Pokes {
		p := &c.Pokes[n]
		c.report.Requests++
		if !p.taken() {
			c.report.Refused++
			continue
		}
		c.byKey[p.Pushkey] = append(c.byKey[p.Pushkey], p)
		if p.Event == "" {
			continue // a badge-only push
		}
		if !c.founded(p) {
			c.problem(&c.report.Unfounded, "%s got %s, which does not notify its user", p.Pushkey, p.Event)
		}
		if _, again := c.first[delivery{p.Pushkey, p.Event}]; !again {
			c.first[delivery{p.Pushkey, p.Event}] = n
		}
	}
}

// founded reports whether the model has a notification for the poke.
func (c *checker) founded(p *request) bool {
	user, room := c.owners[p.Pushkey], c.rooms[p.Room]
	number, said := c.numbers[p.Event]
	return user != nil && room != nil && said && slices.Contains(room.members, user) &&
		c.model.notifies(room.said[number], user.id)
}

// losses finds expected pokes that neither arrived nor became dead letters.
func (c *checker) losses() {
	seen := map[delivery]bool{}
	for _, d := range slices.Concat(c.model.expected(c.people), c.lasts) {
		if seen[d] {
			continue
		}
		seen[d] = true
		c.report.Expected++
		n, ok := c.first[d]
		switch {
		case ok && slices.Contains(c.lasts, d):
			c.report.LastDelivery = max(c.report.LastDelivery, c.Pokes[n].Answered.Sub(c.Last))
		case ok:
			c.report.Heal = max(c.report.Heal, c.Pokes[n].Answered.Sub(c.Healed))
		case c.dead[d]:
			c.report.Dead++
		default:
			c.problem(&c.report.Lost, "%s never got %s", d.pushkey, d.event)
		}
	}
}

// badges finds badges that are wrong at the end.
func (c *checker) badges() {
	for _, u := range c.people.users {
		want := c.model.badge(c.people, u)
		for _, key := range u.pushkeys {
			if pokes := c.byKey[key]; !u.late && len(pokes) > 0 && pokes[len(pokes)-1].Unread != want {
				c.problem(&c.report.WrongBadges, "%s has badge %d at the end, want %d", key, pokes[len(pokes)-1].Unread, want)
			}
		}
	}
}

// namedProblems is how many problems of a kind are described.
const namedProblems = 10

// problem counts a problem, and describes it if it is one of the first of its kind.
func (c *checker) problem(count *int, format string, args ...any) {
	if *count++; *count <= namedProblems {
		c.report.Problems = append(c.report.Problems, fmt.Sprintf(format, args...))
	}
}

// clock formats a time in seconds relative to the end of the last fault.
func (c *checker) clock(t time.Time) string {
	return fmt.Sprintf("%+.3fs", t.Sub(c.Healed).Seconds())
}
