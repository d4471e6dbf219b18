package directory

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

// Generation returns how many changes the directory has seen, without waiting for it.
func (d *Directory) Generation() uint64 { return d.generated.Load() }

// Read calls look with a view of the directory in which nothing changes until look
// returns. look must not wait.
func (d *Directory) Read(look func(View)) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	look(View{d})
}

// View is the directory as it stands for the length of a [directory.read].
type View struct{ d *Directory }

// Generation returns how many changes are in the view.
func (v View) Generation() uint64 { return v.d.changes.count }

// Remembers reports whether the users of all changes after the first n are known.
func (v View) Remembers(n uint64) bool { return v.d.changes.remembers(n) }

// ChangedSince calls do with the user of each change after the first n.
func (v View) ChangedSince(n uint64, do func(events.UserID)) { v.d.changes.after(n, do) }

// Rules returns a user's push rules, and whether the user has an enabled pusher. The rules
// are nil if the predefined ones apply unchanged.
func (v View) Rules(user events.UserID) (rules *UserRules, hasPusher bool) {
	return v.d.rules[user], v.d.users.has(user)
}
