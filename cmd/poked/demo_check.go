package main

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
//   - each arrives once and holds what it must, and nothing else does;
//   - of one pusher, those of one room come in the order of the events;
//   - the unread counts of one pusher are 1, 2, 3, … as they arrive.
//
// Which user a poke is for it does not say, so where users share a pushkey a
// poke may be anyone's of them: then there must be a way to deal the pokes out
// that is right for all.
type checker struct {
	owed    map[pokeID][]*owedPoke        // not arrived yet
	pushers map[pushkeyID]*recordedPusher // one of the owners, to speak of
	numbers map[events.EventID]int

	unread map[pushkeyID]tracks // the last count of each owner
	ends   map[pushkeyID]tracks // what unread must be at the end
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
	Arrived    int
	Missing    int // owed and not arrived, so far
	Unexpected int // arrived and not owed, or not any more
	Different  int // owed, and something in it is not as it must be
	Disordered int // came too late in its room, or with the wrong unread count
}

// shownProblems is how many problems are put into words.
const shownProblems = 10

func newChecker(rec *recording) *checker {
	c := &checker{
		owed: map[pokeID][]*owedPoke{}, pushers: map[pushkeyID]*recordedPusher{}, numbers: map[events.EventID]int{},
		unread: map[pushkeyID]tracks{}, ends: map[pushkeyID]tracks{}, told: map[roomOrder]tracks{},
		tally: tally{Owed: len(rec.owed), Missing: len(rec.owed)},
	}
	heard := map[*recordedPusher]int{}
	for _, o := range rec.owed {
		id := pokeID{event: o.event.id, pushkeyID: o.pusher.pushkeyID}
		c.owed[id] = append(c.owed[id], o)
		heard[o.pusher]++
	}
	for i := range rec.pushers {
		p := &rec.pushers[i]
		c.pushers[p.pushkeyID] = p
		c.unread[p.pushkeyID] = append(c.unread[p.pushkeyID], 0)
		c.ends[p.pushkeyID] = append(c.ends[p.pushkeyID], heard[p])
	}
	for i, ev := range rec.events {
		c.numbers[ev.id] = i + 1
	}
	return c
}

// complete says whether nothing is owed any more.
func (c *checker) complete() bool { return c.tally.Missing == 0 }

// flawless says whether everything was as it must be.
func (c *checker) flawless() bool {
	return c.tally == tally{Owed: c.tally.Owed, Arrived: c.tally.Owed}
}

// take takes in a poke and returns a pusher that it may be for, or nil.
func (c *checker) take(a *arrival) *recordedPusher {
	c.tally.Arrived++
	n := &a.poke.Notification
	if a.tree == nil || len(n.Devices) != 1 {
		c.tally.Unexpected++
		c.problem("a request that is no poke for one device")
		return nil
	}
	id := pokeID{event: n.EventID, pushkeyID: pushkeyID{appID: n.Devices[0].AppID, pushkey: n.Devices[0].Pushkey}}
	pusher := c.pushers[id.pushkeyID]
	if len(c.owed[id]) == 0 {
		c.tally.Unexpected++
		c.problem("not owed: %s", c.describe(id))
		return pusher
	}
	c.tally.Missing--
	if unlike := c.settle(id, a); len(unlike) > 0 {
		c.tally.Different++
		c.problem("not as it must be: %s: %s", c.describe(id), strings.Join(unlike, ", "))
	}
	c.checkOrder(id, n.RoomID, n.Counts.Unread)
	return pusher
}

// settle takes the poke that arrived from the list, or one that it could be,
// and returns in which members it differs from that.
func (c *checker) settle(id pokeID, a *arrival) []string {
	a.mask()
	owed := c.owed[id]
	at := max(0, slices.IndexFunc(owed, func(o *owedPoke) bool { return reflect.DeepEqual(o.body(), a.tree) }))
	want := owed[at].body()
	c.owed[id] = slices.Delete(owed, at, at+1)
	return differences("", want, a.tree)
}

// checkOrder looks at when a poke came.
func (c *checker) checkOrder(id pokeID, room events.RoomID, unread int) {
	place := roomOrder{room: room, pushkeyID: id.pushkeyID}
	if c.told[place] == nil {
		c.told[place] = make(tracks, len(c.unread[id.pushkeyID]))
	}
	_, inOrder := c.told[place].advance(c.numbers[id.event])
	before, counted := c.unread[id.pushkeyID].advance(unread)
	switch {
	case !inOrder:
		c.problem("after a later one of its room: %s", c.describe(id))
	case !counted || before != unread-1:
		c.problem("unread is %d after %d: %s", unread, before, c.describe(id))
	default:
		return
	}
	c.tally.Disordered++
}

// tracks are growing numbers, one for each owner of a pushkey.
type tracks []int

// advance has the number that is closest below n become n, and returns what it
// was. To take that one is always right: any other leaves less room for what
// comes later. It fails if all numbers are n or more.
func (t tracks) advance(n int) (before int, ok bool) {
	best := -1
	for i, last := range t {
		if last < n && (best < 0 || last > t[best]) {
			best = i
		}
	}
	if best < 0 {
		return slices.Min(t), false
	}
	before, t[best] = t[best], n
	return before, true
}

// finish judges what can be judged only at the end.
func (c *checker) finish() {
	if !c.complete() {
		c.nameMissing()
		return // what is missing was not counted either
	}
	for id, counts := range c.unread {
		if len(counts) == 1 {
			continue // each step was right or is a problem already
		}
		have, want := slices.Sorted(slices.Values(counts)), slices.Sorted(slices.Values(c.ends[id]))
		if !slices.Equal(have, want) {
			c.tally.Disordered++
			c.problem("unread ends at %d for the users of %s, must at %d", have, c.pushers[id].device, want)
		}
	}
}

func (c *checker) nameMissing() {
	var ids []pokeID
	for id, owed := range c.owed {
		for range owed {
			ids = append(ids, id)
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
	said := fmt.Sprintf("%d pokes arrived, %d had to", t.Arrived, t.Owed)
	for _, part := range []struct {
		count int
		what  string
	}{
		{t.Missing, "missing"},
		{t.Unexpected, "not owed"},
		{t.Different, "not as they must be"},
		{t.Disordered, "out of order"},
	} {
		if part.count > 0 {
			said += fmt.Sprintf(", %d %s", part.count, part.what)
		}
	}
	return said
}
