// Package directory knows every user's pushers and push rules, as the registry
// publishes them. Match asks it who may be notified and by which rules, deliver which
// pushers to poke.
//
//	PUSHERS ─────▶ Apply ──────▶ packed pushers ──▶ Pushers, Find    (deliver)
//	PUSH_RULES ──▶ ApplyRules ──▶ compiled rules ─▶ Read, Rules      (match)
//
// The pushers of users whose partition this dispatcher owns are kept in full, packed
// into bytes (packedentry.go, packedmap.go); of all others only what match needs, about
// 50 bytes each (G7). A partition that is gained is read from the bucket once more, beside
// the watch that tells all changes (partition.go). A change takes effect as soon as it is
// heard of; rooms follow it change by change (changes.go). Whoever lost their last pusher
// is remembered for as long as the notification log may hold something of theirs
// (former.go).
//
// A value that cannot be read changes nothing: what was known before holds. The
// directory does no I/O under its lock, and imports nothing else of the dispatcher.
package directory

import (
	"bytes"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"poked/events"
	"poked/events/pushgateway"
	"poked/events/pushrule"
)

// Directory knows every user's pushers and push rules. The registry's buckets
// feed it; match asks it who is worth a notification and what they want to hear,
// deliver whom to poke.
//
// Of the users of a partition that is another dispatcher's it keeps what match
// needs, and no pushers: memory falls with the share of the partitions (share).
// All pushers are packed into bytes (entry.go), and unpacked when deliver asks:
// there is little for the garbage collector to follow, however many they are.
type Directory struct {
	log *slog.Logger
	// changed is called after the pushers of a user of ours have changed, by the
	// goroutine that told the directory so. Two may call it at once: what is true
	// then is what the directory answers.
	changed func(events.UserID)
	// compiled is shared by users who have the same rules.
	compiled *pushrule.Cache

	// generated is how many changes there have been: it grows when a user gains
	// their first pusher, loses their last, or has a pusher and other rules. What
	// rooms remember is then to be brought up to date.
	generated atomic.Uint64

	mu    sync.RWMutex
	heard struct { // from the bucket of pushers, by the watch that tells all changes
		revision uint64 // newest
		all      bool   // everything up to that; not while all is told anew
	}
	shares    []share    // by partition
	users     *packedMap // an entry for everyone with an enabled pusher
	templates *templates
	entry     []byte                       // a buffer
	former    former                       // who had pushers lately: their logs may hold something
	rules     map[events.UserID]*UserRules // never nil
	changes   changes
}

// New returns a directory of users in so many partitions, all of which
// are ours until [directory.lose] says otherwise. changed is called after the pushers of a
// user of ours have changed.
func New(policy *pushgateway.Policy, log *slog.Logger, partitions int, changed func(events.UserID)) *Directory {
	d := &Directory{
		log: log, changed: changed, compiled: pushrule.NewCache(),
		shares: make([]share, partitions), users: newPackedMap(), templates: newTemplates(policy), rules: map[events.UserID]*UserRules{},
	}
	for part := range d.shares {
		d.shares[part].ours = true
	}
	return d
}

// Apply takes in a user's pushers as the registry publishes them. One that is
// disabled is as if it were not there.
func (d *Directory) Apply(set events.UserPushers) {
	if set.UserID != "" { // else it cannot be read: what was known before holds
		d.enter(&set, (*share).hears)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard.revision = max(d.heard.revision, set.Revision)
}

// IsCurrent reports whether a user's pushers are known as they were at a revision of
// PUSHERS, or later.
func (d *Directory) IsCurrent(user events.UserID, revision uint64) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.heard.all && d.heard.revision >= revision || d.revisionOf(user) >= revision
}

// Revision returns the revision of PUSHERS at which a user got the pushers that are
// known, or 0 if there are none.
func (d *Directory) Revision(user events.UserID) uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.revisionOf(user)
}

// revisionOf is revision for a caller that holds the mutex.
func (d *Directory) revisionOf(user events.UserID) uint64 {
	entry := d.users.get(user)
	if entry == nil {
		return 0
	}
	r := reader{rest: entry}
	r.head()
	return r.revision
}

// enter takes in a user's pushers if they are news to their partition.
func (d *Directory) enter(set *events.UserPushers, news func(*share, *events.UserPushers) bool) {
	part := events.PartitionOf(events.Token(set.UserID), len(d.shares))
	pushers := enabled(set.Pushers)
	d.mu.Lock()
	share := &d.shares[part]
	changed, refused := false, false
	if news(share, set) {
		changed, refused = d.put(part, set, pushers)
	}
	changed = changed && share.ours
	d.mu.Unlock()
	if !changed {
		return
	}
	if refused {
		d.warn(set.UserID)
	}
	d.changed(set.UserID)
}

func enabled(pushers []events.Pusher) []events.Pusher {
	disabled := func(p events.Pusher) bool { return p.Disabled }
	if !slices.ContainsFunc(pushers, disabled) {
		return pushers
	}
	return slices.DeleteFunc(slices.Clone(pushers), disabled)
}

// put makes pushers, those of set that are enabled, those of its user, and returns
// whether anything has changed and whether one of them may not be poked. The caller
// holds the mutex.
func (d *Directory) put(part int, set *events.UserPushers, pushers []events.Pusher) (changed, refused bool) {
	user := set.UserID
	before, share := d.users.get(user), &d.shares[part]
	if len(pushers) > 0 {
		d.former.remove(user)
	} else {
		d.former.add(user, set.At, time.Now())
		if before != nil {
			d.forget(share, before)
			d.users.remove(user)
			d.note(user)
		}
		return before != nil, false
	}
	if share.ours {
		d.entry, refused = d.templates.appendFull(d.entry[:0], part, set.Revision, pushers)
	} else {
		d.entry = appendLight(d.entry[:0], part, set.Revision, pushers)
	}
	changed = !bytes.Equal(before, d.entry)
	if before != nil {
		d.forget(share, before)
	}
	if changed {
		d.users.put(user, d.entry)
	}
	share.count(d.entry, 1)
	if before == nil {
		d.note(user)
	}
	return changed, refused
}

// forget has an entry not count any more. The caller holds the mutex.
func (d *Directory) forget(share *share, entry []byte) {
	d.templates.releaseAll(entry)
	share.count(entry, -1)
}

// warn says which pushers of a user may not be poked.
func (d *Directory) warn(user events.UserID) {
	for _, p := range d.Pushers(user) {
		if p.Refused != nil {
			d.log.Warn("pusher cannot be poked", "user_id", p.User, "app_id", p.AppID, "pusher", p.ID, "error", p.Refused)
		}
	}
}

// ApplyRules takes in a user's push rules as the registry publishes them.
func (d *Directory) ApplyRules(set events.UserPushRules) {
	rules := newUserRules(&set, d.compiled)
	d.mu.Lock()
	defer d.mu.Unlock()
	if rules.equal(d.rules[set.UserID]) {
		return
	}
	if rules != nil {
		d.rules[set.UserID] = rules
	} else {
		delete(d.rules, set.UserID)
	}
	if d.users.has(set.UserID) {
		d.note(set.UserID)
	}
}

// note remembers that a user changed in the eyes of rooms. The caller holds the
// mutex.
func (d *Directory) note(user events.UserID) {
	d.changes.add(user)
	d.generated.Store(d.changes.count)
}

// Has says whether a user has a pusher, whoever pokes it.
func (d *Directory) Has(user events.UserID) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.users.has(user)
}

// Pushers returns the pushers of a user in a partition of ours, new values each
// time.
func (d *Directory) Pushers(user events.UserID) []*Pusher {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if entry := d.users.get(user); entry != nil {
		return d.templates.unpack(user, entry)
	}
	return nil
}

// Find fills in whose some pushers are, of users in a partition of ours. It looks at
// every user: it is for what cannot be found otherwise.
func (d *Directory) Find(part int, owners map[events.PusherID]events.UserID) {
	for i := range d.users.all {
		d.mu.RLock()
		d.users.all[i].each(func(user, entry []byte) {
			r := reader{rest: entry}
			if of, full := r.head(); !full || of != part {
				return
			}
			for _, p := range d.templates.unpack(events.UserID(user), entry) {
				if _, sought := owners[p.ID]; sought {
					owners[p.ID] = p.User
				}
			}
		})
		d.mu.RUnlock()
	}
}

// Handles returns the instance handles of a user's pushers, whoever pokes them,
// each at least once; "" is that of pushers without one.
func (d *Directory) Handles(user events.UserID) []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if entry := d.users.get(user); entry != nil {
		return handlesOf(entry)
	}
	return nil
}

// ForgetFormer forgets who has had no pushers for longer than logs are kept.
func (d *Directory) ForgetFormer(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.former.turn(now)
}

// Knows says whether a user has pushers or had some lately: then there may be something
// in their log that they can read.
func (d *Directory) Knows(user events.UserID) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.former.has(user) || d.users.has(user)
}

// Rules returns a user's push rules, and whether the user has an enabled pusher. The rules
// are nil if the predefined ones apply unchanged.
func (d *Directory) Rules(user events.UserID) (rules *UserRules, hasPusher bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.rules[user], d.users.has(user)
}

// Sizes returns how many users have pushers, and how many have push rules of
// their own.
func (d *Directory) Sizes() (pushers, rules int) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.users.users, len(d.rules)
}
