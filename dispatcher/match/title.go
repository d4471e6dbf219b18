package match

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"poked/events"
)

// title returns the room's name if it has one of its own: m.room.name, else the
// canonical alias.
func (r *room) title() string { return cmp.Or(r.name, r.alias) }

// heroCount is how many people a name made of people names.
const heroCount = 5

// people is whom the name of a room that has none of its own is made of: one
// walk over the members serves every user.
type people struct {
	here, gone crowd
	others     string // the name as it is for those whom it would not name anyway; "" if not asked yet
}

// crowd is some of the members: how many there are, and the first of them by
// user id, one more than a name names.
type crowd struct {
	count int
	first []*member
}

func (c *crowd) add(m *member) {
	c.count++
	i, _ := slices.BinarySearchFunc(c.first, m.id, func(m *member, id events.UserID) int { return cmp.Compare(m.id, id) })
	if i > heroCount {
		return
	}
	c.first = slices.Insert(c.first, i, m)
	c.first = c.first[:min(len(c.first), heroCount+1)]
}

// without returns the first members but one user, and how many there are but
// that user, who is one of the crowd if among says so.
func (c *crowd) without(user events.UserID, among bool) (first []*member, count int) {
	first, count = c.first, c.count
	if among {
		count--
	}
	if i := slices.IndexFunc(first, func(m *member) bool { return m.id == user }); i >= 0 {
		first = slices.Concat(first[:i], first[i+1:])
	}
	return first[:min(len(first), heroCount)], count
}

func (r *room) lookAtPeople() *people {
	if r.people != nil {
		return r.people
	}
	r.people = &people{}
	for _, m := range r.members {
		switch {
		case isHere(m):
			r.people.here.add(m)
		case isGone(m):
			r.people.gone.add(m)
		}
	}
	return r.people
}

func isHere(m *member) bool { return m.membership == "join" || m.membership == "invite" }
func isGone(m *member) bool { return m.membership == "leave" || m.membership == "ban" }

// titleFor returns the name of a room that has none of its own, as one user
// sees it ("Calculating the display name for a room" in the client-server API):
// the other people in it, or those who left it. The heroes are the first five
// by user id.
func (r *room) titleFor(user events.UserID) string {
	all, m := r.lookAtPeople(), r.members[user]
	named := slices.ContainsFunc(all.here.first, func(m *member) bool { return m.id == user })
	common := m != nil && isHere(m) && !named // it has then more others than it names
	if common && all.others != "" {
		return all.others
	}
	if first, count := all.here.without(user, m != nil && isHere(m)); count > 0 {
		title := listPeople(first, count)
		if common {
			all.others = title
		}
		return title
	}
	if first, count := all.gone.without(user, m != nil && isGone(m)); count > 0 {
		return "Empty Room (was " + listPeople(first, count) + ")"
	}
	return "Empty Room"
}

// listPeople joins names: "A", "A and B", "A, B, C, D, E and 3 others".
func listPeople(first []*member, count int) string {
	var items []string
	for _, m := range first {
		items = append(items, cmp.Or(m.displayName, string(m.id)))
	}
	switch rest := count - len(items); rest {
	case 0:
	case 1:
		items = append(items, "1 other")
	default:
		items = append(items, strconv.Itoa(rest)+" others")
	}
	last := len(items) - 1
	if last == 0 {
		return items[0]
	}
	return strings.Join(items[:last], ", ") + " and " + items[last]
}
