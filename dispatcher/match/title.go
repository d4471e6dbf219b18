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

// heroCount is how many members the name of a room without one of its own names.
const heroCount = 5

// heroes is what the name of a room that has none of its own is made of. One walk over the
// members serves every user.
type heroes struct {
	present, departed group
	others            string // the name for users whom it does not name; "" until it is needed
}

// group is how many members there are of a kind, and the first of them by user id, one more
// than a name lists.
type group struct {
	count int
	first []*member
}

func (c *group) add(m *member) {
	c.count++
	i, _ := slices.BinarySearchFunc(c.first, m.id, func(m *member, id events.UserID) int { return cmp.Compare(m.id, id) })
	if i > heroCount {
		return
	}
	c.first = slices.Insert(c.first, i, m)
	c.first = c.first[:min(len(c.first), heroCount+1)]
}

// namesWithout joins the names of the first members other than a user, who is one of the group if
// among is true: "A", "A and B", "A, B, C, D, E and 3 others". It returns "" if nobody is left.
func (c *group) namesWithout(user events.UserID, among bool) string {
	count := c.count
	if among {
		count--
	}
	items := make([]string, 0, heroCount+1)
	for _, m := range c.first {
		if m.id != user && len(items) < heroCount {
			items = append(items, cmp.Or(m.displayName, string(m.id)))
		}
	}
	switch rest := count - len(items); rest {
	case 0:
	case 1:
		items = append(items, "1 other")
	default:
		items = append(items, strconv.Itoa(rest)+" others")
	}
	switch last := len(items) - 1; last {
	case -1:
		return ""
	case 0: // a direct chat
		return items[0]
	default:
		return strings.Join(items[:last], ", ") + " and " + items[last]
	}
}

func (r *room) findHeroes() *heroes {
	if r.heroes != nil {
		return r.heroes
	}
	r.heroes = &heroes{}
	for _, m := range r.members {
		switch {
		case isPresent(m):
			r.heroes.present.add(m)
		case hasLeft(m):
			r.heroes.departed.add(m)
		}
	}
	return r.heroes
}

func isPresent(m *member) bool { return m.membership == "join" || m.membership == "invite" }
func hasLeft(m *member) bool   { return m.membership == "leave" || m.membership == "ban" }

// titleFor returns the name of a room that has none of its own, as one user sees it
// ("Calculating the display name for a room" in the client-server API): the other members,
// or those who left. The heroes are the first five by user id. The name of a room of which
// nothing is known is "".
func (r *room) titleFor(user events.UserID) string {
	all, m := r.findHeroes(), r.members[user]
	named := slices.ContainsFunc(all.present.first, func(m *member) bool { return m.id == user })
	common := m != nil && isPresent(m) && !named // then the name is the same for all such users
	if common && all.others != "" {
		return all.others
	}
	if title := all.present.namesWithout(user, m != nil && isPresent(m)); title != "" {
		if common {
			all.others = title
		}
		return title
	}
	if names := all.departed.namesWithout(user, m != nil && hasLeft(m)); names != "" {
		return "Empty Room (was " + names + ")"
	}
	if r.joined == 0 {
		return "" // nobody is known to be in it: nothing is known of the room
	}
	return "Empty Room"
}
