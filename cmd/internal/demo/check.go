package demo

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"poked/events"
)

// checker compares the pokes that arrive with the expected ones:
//
//   - each expected poke arrives once, with the right content, and no other poke arrives;
//     one whose event is read later may be missing, if it was read before it was sent;
//   - the pokes of one pusher for one room arrive in the order of the events;
//   - a badge-only push has a new count;
//   - the last count of each pusher is the final unread count of its user.
//
// A poke does not name its user, so if users share a pushkey, a poke may be for any of
// them. Then there must be an assignment of pokes to users that is right for all.
type checker struct {
	missing map[pokeID][]*expectedPoke    // not arrived yet, mandatory ones first
	pushers map[pushkeyID]*recordedPusher // one of the owners, for messages
	numbers map[events.EventID]int

	badges map[pushkeyID]*sentBadges
	last   map[roomOrder]tracks // the number of the last event for each owner

	tally    tally
	problems []string // the first few, as text without pushkeys and content
}

type pokeID struct {
	event events.EventID
	pushkeyID
}

type roomOrder struct {
	room events.RoomID
	pushkeyID
}

// tally counts the pokes by result.
type tally struct {
	Expected   int // in all
	Arrived    int // pokes for events
	Badges     int // badge-only pushes
	Read       int // expected and not arrived so far, and read at some time
	Missing    int // expected and not arrived so far, and never read
	Unexpected int // arrived and not expected, or a second time
	Different  int // expected, with wrong content
	Disordered int // out of order in its room, or with a repeated or impossible count
	Miscounted int // pushkeys with a wrong last count
}

// shownProblems is how many problems are described.
const shownProblems = 10

func newChecker(rec *recording) *checker {
	c := &checker{
		missing: map[pokeID][]*expectedPoke{}, pushers: map[pushkeyID]*recordedPusher{},
		badges: map[pushkeyID]*sentBadges{}, last: map[roomOrder]tracks{}, numbers: rec.numbers(),
		tally: tally{Expected: len(rec.expected)},
	}
	for i := range rec.pushers {
		p := &rec.pushers[i]
		c.pushers[p.pushkeyID] = p
		if c.badges[p.pushkeyID] == nil {
			c.badges[p.pushkeyID] = &sentBadges{}
		}
		c.badges[p.pushkeyID].owners = append(c.badges[p.pushkeyID].owners, badgeOwner{pusher: p, expected: map[events.EventID]bool{}})
	}
	for _, o := range rec.expected {
		id := pokeID{event: o.event.id, pushkeyID: o.pusher.pushkeyID}
		if o.read {
			c.missing[id] = append(c.missing[id], o)
		} else {
			c.missing[id] = slices.Insert(c.missing[id], 0, o)
		}
		c.badges[id.pushkeyID].expect(o)
		*c.open(o)++
	}
	return c
}

// open returns the counter for a poke that has not arrived.
func (c *checker) open(o *expectedPoke) *int {
	if o.read {
		return &c.tally.Read
	}
	return &c.tally.Missing
}

// complete reports whether everything mandatory has arrived.
func (c *checker) complete() bool { return c.tally.Missing == 0 && len(c.miscounted()) == 0 }

// flawless reports whether everything was as expected.
func (c *checker) flawless() bool {
	t := c.tally
	return t == tally{Expected: t.Expected, Arrived: t.Expected - t.Read, Read: t.Read, Badges: t.Badges}
}

// take checks a poke and returns a pusher that it may be for, or nil.
func (c *checker) take(a *arrival) *recordedPusher {
	if a.isBadge() {
		c.tally.Badges++
	} else {
		c.tally.Arrived++
	}
	n := &a.Notification
	if a.tree == nil || len(n.Devices) != 1 {
		c.tally.Unexpected++
		c.problem("a request that is not a poke for one device")
		return nil
	}
	id := pokeID{event: n.EventID, pushkeyID: pushkeyID{appID: n.Devices[0].AppID, pushkey: n.Devices[0].Pushkey}}
	pusher := c.pushers[id.pushkeyID]
	if a.isBadge() && pusher != nil {
		c.takeBadge(id.pushkeyID, a)
		return pusher
	}
	if len(c.missing[id]) == 0 {
		c.tally.Unexpected++
		c.problem("unexpected: %s", c.describe(id))
		return pusher
	}
	if unlike := c.settle(id, a); len(unlike) > 0 {
		c.tally.Different++
		c.problem("wrong: %s: %s", c.describe(id), strings.Join(unlike, ", "))
	}
	c.checkOrder(id, n.RoomID)
	c.recordBadge(id, a)
	return pusher
}

// settle removes the poke that arrived from the expected ones, or one that it could be,
// preferably a mandatory one, and returns the members in which it differs.
func (c *checker) settle(id pokeID, a *arrival) []string {
	a.mask()
	missing := c.missing[id]
	var unlike []string
	at := slices.IndexFunc(missing, func(o *expectedPoke) bool { return reflect.DeepEqual(o.body(), a.tree) })
	if at < 0 {
		at, unlike = 0, differences("", missing[0].body(), a.tree)
	}
	*c.open(missing[at])--
	c.missing[id] = slices.Delete(missing, at, at+1)
	return unlike
}

// checkOrder checks the order of a poke in its room.
func (c *checker) checkOrder(id pokeID, room events.RoomID) {
	place := roomOrder{room: room, pushkeyID: id.pushkeyID}
	if c.last[place] == nil {
		c.last[place] = make(tracks, len(c.badges[id.pushkeyID].owners))
	}
	if !c.last[place].advance(c.numbers[id.event]) {
		c.tally.Disordered++
		c.problem("after a later one of its room: %s", c.describe(id))
	}
}

// tracks are increasing numbers, one for each owner of a pushkey.
type tracks []int

// advance sets the largest number below n to n. That choice is always right: any other
// leaves fewer possibilities for later pokes. It returns false if all numbers are n or
// more.
func (t tracks) advance(n int) (ok bool) {
	best := -1
	for i, last := range t {
		if last < n && (best < 0 || last > t[best]) {
			best = i
		}
	}
	if best < 0 {
		return false
	}
	t[best] = n
	return true
}

// finish checks what can be checked only at the end.
func (c *checker) finish() {
	c.nameMissing()
	for _, id := range c.miscounted() {
		c.tally.Miscounted++
		c.problem("%s", c.badges[id])
	}
}

func (c *checker) nameMissing() {
	var ids []pokeID
	for id, pokes := range c.missing {
		for _, o := range pokes {
			if !o.read {
				ids = append(ids, id)
			}
		}
	}
	slices.SortFunc(ids, func(a, b pokeID) int {
		return cmp.Or(c.numbers[a.event]-c.numbers[b.event], strings.Compare(a.pushkey, b.pushkey))
	})
	for _, id := range ids {
		c.problem("missing: %s", c.describe(id))
	}
}

// problem records the first few problems.
func (c *checker) problem(format string, args ...any) {
	if len(c.problems) < shownProblems {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// describe describes a poke without its pushkey.
func (c *checker) describe(id pokeID) string {
	device := "an unknown device"
	if p := c.pushers[id.pushkeyID]; p != nil {
		device = p.device
	}
	return fmt.Sprintf("event %d (%s) for %s", c.numbers[id.event], id.event, device)
}

// String describes the result in one sentence.
func (t tally) String() string {
	text := fmt.Sprintf("%d pokes arrived of %d expected, %d were read first", t.Arrived, t.Expected-t.Read, t.Read)
	for _, part := range []struct {
		count int
		what  string
	}{
		{t.Missing, "missing"},
		{t.Unexpected, "unexpected"},
		{t.Different, "wrong"},
		{t.Disordered, "out of order"},
		{t.Miscounted, "wrong last badges"},
	} {
		if part.count > 0 {
			text += fmt.Sprintf(", %d %s", part.count, part.what)
		}
	}
	return text
}
