package demo

import (
	"fmt"
	"math/bits"
	"reflect"
	"slices"
	"strings"

	"poked/events"
)

// sentBadges is every unread count sent to a pushkey, in order, and the users who have the
// pushkey. A poke does not name its user, so each count may be for any of them.
type sentBadges struct {
	owners []badgeOwner
	sent   []sentBadge
}

type badgeOwner struct {
	pusher   *recordedPusher
	expected map[events.EventID]bool
}

type sentBadge struct {
	event events.EventID // "" for a badge-only poke
	count int
}

// expect records an expected poke for its owner.
func (b *sentBadges) expect(o *expectedPoke) {
	for _, owner := range b.owners {
		if owner.pusher == o.pusher {
			owner.expected[o.event.id] = true
		}
	}
}

// most returns the highest unread count that an owner can have, or -1 if none has a badge.
func (b *sentBadges) most() int {
	most := -1
	for _, owner := range b.owners {
		if !owner.pusher.noBadge {
			most = max(most, len(owner.expected))
		}
	}
	return most
}

// last returns the count that was sent last, if there is only one owner.
func (b *sentBadges) last() (count int, ok bool) {
	if len(b.sent) == 0 || len(b.owners) > 1 {
		return 0, false
	}
	return b.sent[len(b.sent)-1].count, true
}

// right reports whether the counts can be assigned to the owners so that the last count of
// each owner is their final unread count, and nobody gets an event twice. It searches
// backwards from the end, with every possible set of owners that have a count by then.
func (b *sentBadges) right() bool {
	sets, later := map[uint]bool{0: true}, map[events.EventID]int{}
	all := uint(1)<<len(b.owners) - 1
	for _, t := range slices.Backward(b.sent) {
		sets = b.earlier(sets, t, later[t.event])
		if sets[all] {
			return true
		}
		if t.event != "" {
			later[t.event]++
		}
	}
	for set := range sets {
		if b.unsentIsRight(set) {
			return true
		}
	}
	return false
}

// earlier returns the possible sets after the count before is assigned. later is the number
// of later counts for the same event.
func (b *sentBadges) earlier(sets map[uint]bool, t sentBadge, later int) map[uint]bool {
	earlier := map[uint]bool{}
	for set := range sets {
		for i, owner := range b.owners {
			isLast := set&(1<<i) == 0
			may := later < bits.OnesCount(set)
			if isLast {
				may = t.count == owner.pusher.unread
			}
			if may && owner.mayGet(t) {
				earlier[set|1<<i] = true
			}
		}
	}
	return earlier
}

// unsentIsRight reports whether no count is needed for the owners that are not in the set.
func (b *sentBadges) unsentIsRight(set uint) bool {
	for i, owner := range b.owners {
		if set&(1<<i) == 0 && !owner.pusher.noBadge && owner.pusher.unread > 0 {
			return false
		}
	}
	return true
}

func (o badgeOwner) mayGet(t sentBadge) bool {
	return !o.pusher.noBadge && (t.event == "" || o.expected[t.event])
}

// String describes what is wrong at the end.
func (b *sentBadges) String() string {
	var want []int
	for _, owner := range b.owners {
		want = append(want, owner.pusher.unread)
	}
	last := "no badge was sent"
	if n := len(b.sent); n > 0 {
		last = fmt.Sprintf("the last badge is %d", b.sent[n-1].count)
	}
	return fmt.Sprintf("%s, unread at the end is %d: %s", last, want, b.owners[0].pusher.device)
}

// takeBadge checks a badge-only push.
func (c *checker) takeBadge(id pushkeyID, a *arrival) {
	a.mask()
	device, badges := c.pushers[id].device, c.badges[id]
	unlike, expected := []string(nil), false
	for _, owner := range badges.owners {
		if !owner.pusher.noBadge && !expected {
			want := owner.pusher.badgeBody()
			unlike, expected = differences("", want, a.tree), reflect.DeepEqual(want, a.tree)
		}
	}
	last, known := badges.last()
	switch {
	case expected && known && last == *a.Notification.Counts.Unread:
		c.tally.Disordered++
		c.problem("the count %d was sent again: %s", last, device)
	case expected:
	case len(unlike) > 0:
		c.tally.Different++
		c.problem("wrong badge for %s: %s", device, strings.Join(unlike, ", "))
	default:
		c.tally.Unexpected++
		c.problem("a badge for %s, whose pusher wants none", device)
	}
	c.recordBadge(pokeID{pushkeyID: id}, a)
}

// recordBadge records the unread count of a poke.
func (c *checker) recordBadge(id pokeID, a *arrival) {
	count, b := a.Notification.Counts.Unread, c.badges[id.pushkeyID]
	most := b.most()
	if count == nil || most < 0 {
		return
	}
	b.sent = append(b.sent, sentBadge{event: id.event, count: *count})
	if *count > most {
		c.tally.Disordered++
		c.problem("the unread count is %d, at most %d is possible: %s", *count, most, c.describe(id))
	}
}

// miscounted returns the pushkeys whose last count is not the final unread count.
func (c *checker) miscounted() (ids []pushkeyID) {
	for id, b := range c.badges {
		if !b.right() {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(x, y pushkeyID) int { return strings.Compare(x.pushkey, y.pushkey) })
	return ids
}
