package directory

import "poked/events"

// View is the directory at one moment, as [Directory.Read] shows it. It is valid until the
// function that got it returns.
type View struct{ d *Directory }

// Read calls look with a view of the directory, in which nothing changes until look
// returns. look must not block: changes wait for it.
func (d *Directory) Read(look func(View)) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	look(View{d})
}

// Generation returns how many changes the view includes.
func (v View) Generation() uint64 { return v.d.changes.count }

// Remembers reports whether the users of all changes after the first n are known.
func (v View) Remembers(n uint64) bool { return v.d.changes.remembers(n) }

// ChangedSince calls do with the user of each change after the first n, oldest first. The
// view must remember them.
func (v View) ChangedSince(n uint64, do func(events.UserID)) { v.d.changes.after(n, do) }

// Rules returns a user's push rules, and whether the user has an enabled pusher. The rules
// are nil if the predefined ones apply unchanged.
func (v View) Rules(user events.UserID) (rules *UserRules, hasPusher bool) {
	return v.d.rules[user], v.d.users.has(user)
}
