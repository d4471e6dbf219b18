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

// generation returns how many changes the directory has seen, without waiting for it.
func (d *directory) generation() uint64 { return d.generated.Load() }

// read calls look with a view of the directory in which nothing changes until look
// returns. look must not wait.
func (d *directory) read(look func(view)) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	look(view{d})
}

// view is the directory as it stands for the length of a [directory.read].
type view struct{ d *directory }

// generation returns how many changes are in the view.
func (v view) generation() uint64 { return v.d.changes.count }

// remembers reports whether the users of all changes after the first n are known.
func (v view) remembers(n uint64) bool { return v.d.changes.remembers(n) }

// changedSince calls do with the user of each change after the first n.
func (v view) changedSince(n uint64, do func(events.UserID)) { v.d.changes.after(n, do) }

// hears returns a user's rules, and whether they have a pusher to hear by.
func (v view) hears(user events.UserID) (rules *userRules, can bool) {
	return v.d.rules[user], v.d.users.has(user)
}
