package dispatcher

import "poked/events"

// changeMemory is how many changes the directory remembers. Who has missed more
// of them looks at everybody anew.
const changeMemory = 8192

// changes remembers which users have changed last, so that a room needs to look
// only at them: on a busy server somebody somewhere changes every second.
type changes struct {
	count uint64          // of all changes there have ever been
	last  []events.UserID // a ring: change n, from 0, stands at n % changeMemory
}

func (c *changes) add(user events.UserID) {
	if len(c.last) < changeMemory {
		c.last = append(c.last, user)
	} else {
		c.last[c.count%changeMemory] = user
	}
	c.count++
}

// remembers says whether all changes after the first n are still known.
func (c *changes) remembers(n uint64) bool { return c.count-n <= uint64(len(c.last)) }

// after calls do with the user of each change after the first n.
func (c *changes) after(n uint64, do func(events.UserID)) {
	for ; n < c.count; n++ {
		do(c.last[n%changeMemory])
	}
}
