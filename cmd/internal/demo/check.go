package demo

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"poked/events"
)

// checker compares the pokes that arrive with those that are owed:
//
//   - each arrives once and holds what it must, and nothing else does; one whose
//     event is read later may also be read before it is sent, and never arrive;
//   - of one pusher, those of one room come in the order of the events;
//   - a poke of the badge alone tells something new;
//   - each pusher is told last how much its user has unread at the end.
//
// Which user a poke is for it does not say, so where users share a pushkey a
// poke may be anyone's of them: then there must be a way to deal the pokes out
// that is right for all.
type checker struct {
	owed    map[pokeID][]*owedPoke        // not arrived yet, first those that must
	pushers map[pushkeyID]*recordedPusher // one of the owners, to speak of
	numbers map[events.EventID]int

	badges map[pushkeyID]*toldBadges
	told   map[roomOrder]tracks // the number of the last event, of each owner

	tally    tally
	problems []string // the first few, in words; none holds a pushkey or content
}

type pokeID struct {
	event events.EventID
	pushkeyID
}

type roomOrder struct {
	room events.RoomID
	pushkeyID
}

// tally counts what became of the pokes.
type tally struct {
	Owed       int // at the beginning
	Arrived    int // pokes of events
	Badges     int // pokes of the badge alone
	Read       int // owed and not arrived, so far, and read sooner or later
	Missing    int // owed and not arrived, so far, and never read
	Unexpected int // arrived and not owed, or not any more
	Different  int // owed, and something in it is not as it must be
	Disordered int // came too late in its room, or with a count that is no news or cannot be
	Miscounted int // pushkeys that were told last what is not unread at the end
}

// shownProblems is how many problems are put into words.
const shownProblems = 10

func newChecker(rec *recording) *checker {
	c := &checker{
		owed: map[pokeID][]*owedPoke{}, pushers: map[pushkeyID]*recordedPusher{},
		badges: map[pushkeyID]*toldBadges{}, told: map[roomOrder]tracks{}, numbers: rec.numbers(),
		tally: tally{Owed: len(rec.owed)},
	}
	for i := range rec.pushers {
		p := &rec.pushers[i]
		c.pushers[p.pushkeyID] = p
		if c.badges[p.pushkeyID] == nil {
			c.badges[p.pushkeyID] = &toldBadges{}
		}
		c.badges[p.pushkeyID].owners = append(c.badges[p.pushkeyID].owners, badgeOwner{pusher: p, hears: map[events.EventID]bool{}})
	}
	for _, o := range rec.owed {
		id := pokeID{event: o.event.id, pushkeyID: o.pusher.pushkeyID}
		if o.read {
			c.owed[id] = append(c.owed[id], o)
		} else {
			c.owed[id] = slices.Insert(c.owed[id], 0, o)
		}
		c.badges[id.pushkeyID].hears(o)
		*c.open(o)++
	}
	return c
}

// open returns where a poke counts that has not arrived.
func (c *checker) open(o *owedPoke) *int {
	if o.read {
		return &c.tally.Read
	}
	return &c.tally.Missing
}

// complete says whether nothing need arrive any more.
func (c *checker) complete() bool { return c.tally.Missing == 0 && len(c.miscounted()) == 0 }

// flawless says whether everything was as it must be.
func (c *checker) flawless() bool {
	t := c.tally
	return t == tally{Owed: t.Owed, Arrived: t.Owed - t.Read, Read: t.Read, Badges: t.Badges}
}

// take takes in a poke and returns a pusher that it may be for, or nil.
func (c *checker) take(a *arrival) *recordedPusher {
	if a.isBadge() {
		c.tally.Badges++
	} else {
		c.tally.Arrived++
	}
	n := &a.Notification
	if a.tree == nil || len(n.Devices) != 1 {
		c.tally.Unexpected++
		c.problem("a request that is no poke for one device")
		return nil
	}
	id := pokeID{event: n.EventID, pushkeyID: pushkeyID{appID: n.Devices[0].AppID, pushkey: n.Devices[0].Pushkey}}
	pusher := c.pushers[id.pushkeyID]
	if a.isBadge() && pusher != nil {
		c.takeBadge(id.pushkeyID, a)
		return pusher
	}
	if len(c.owed[id]) == 0 {
		c.tally.Unexpected++
		c.problem("not owed: %s", c.describe(id))
		return pusher
	}
	if unlike := c.settle(id, a); len(unlike) > 0 {
		c.tally.Different++
		c.problem("not as it must be: %s: %s", c.describe(id), strings.Join(unlike, ", "))
	}
	c.checkOrder(id, n.RoomID)
	c.tell(id, a)
	return pusher
}

// settle takes the poke that arrived from the list, or one that it could be,
// sooner one that must arrive, and returns in which members it differs from that.
func (c *checker) settle(id pokeID, a *arrival) []string {
	a.mask()
	owed := c.owed[id]
	at := max(0, slices.IndexFunc(owed, func(o *owedPoke) bool { return reflect.DeepEqual(o.body(), a.tree) }))
	want := owed[at].body()
	*c.open(owed[at])--
	c.owed[id] = slices.Delete(owed, at, at+1)
	return differences("", want, a.tree)
}

// checkOrder looks at when a poke came.
func (c *checker) checkOrder(id pokeID, room events.RoomID) {
	place := roomOrder{room: room, pushkeyID: id.pushkeyID}
	if c.told[place] == nil {
		c.told[place] = make(tracks, len(c.badges[id.pushkeyID].owners))
	}
	if !c.told[place].advance(c.numbers[id.event]) {
		c.tally.Disordered++
		c.problem("after a later one of its room: %s", c.describe(id))
	}
}

// tracks are growing numbers, one for each owner of a pushkey.
type tracks []int

// advance has the number that is closest below n become n. To take that one is
// always right: any other leaves less room for what comes later. It fails if all
// numbers are n or more.
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

// finish judges what can be judged only at the end.
func (c *checker) finish() {
	c.nameMissing()
	for _, id := range c.miscounted() {
		c.tally.Miscounted++
		c.problem("%s", c.badges[id])
	}
}

func (c *checker) nameMissing() {
	var ids []pokeID
	for id, owed := range c.owed {
		for _, o := range owed {
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

// problem keeps one of the first problems.
func (c *checker) problem(format string, args ...any) {
	if len(c.problems) < shownProblems {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// describe names a poke without its pushkey.
func (c *checker) describe(id pokeID) string {
	device := "an unknown device"
	if p := c.pushers[id.pushkeyID]; p != nil {
		device = p.device
	}
	return fmt.Sprintf("event %d (%s) for %s", c.numbers[id.event], id.event, device)
}

// String says what was wrong, in one sentence.
func (t tally) String() string {
	said := fmt.Sprintf("%d pokes arrived, %d had to and %d were read first", t.Arrived, t.Owed-t.Read, t.Read)
	for _, part := range []struct {
		count int
		what  string
	}{
		{t.Missing, "missing"},
		{t.Unexpected, "not owed"},
		{t.Different, "not as they must be"},
		{t.Disordered, "out of order"},
		{t.Miscounted, "badges wrong in the end"},
	} {
		if part.count > 0 {
			said += fmt.Sprintf(", %d %s", part.count, part.what)
		}
	}
	return said
}
