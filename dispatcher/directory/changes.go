package directory

import "poked/events"

// changeMemory is how many changes the directory remembers. A room that missed more of
// them looks up every member again.
const changeMemory = 8192

// changes remembers which users changed last, so that a room looks up only those: on a
// busy server some user changes every second.
type changes struct {
	count uint64          // of all changes so far
	last  []events.UserID // a ring: change n, from 0, is at n % changeMemory
}

func (c *changes) add(user events.UserID) {
	if len(c.last) < changeMemory {
		c.last = append(c.last, user)
	} else {
		c.last[c.count%changeMemory] = user
	}
	c.count++
}

// remembers reports whether all changes after the first n are still known.
func (c *changes) remembers(n uint64) bool { return c.count-n <= uint64(len(c.last)) }

// after calls do with the user of each change after the first n.
func (c *changes) after(n uint64, do func(events.UserID)) {
	for ; n < c.count; n++ {
		do(c.last[n%changeMemory])
	}
}
