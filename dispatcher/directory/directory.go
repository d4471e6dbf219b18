// Package directory knows every user's pushers and push rules, as the registry publishes
// them. Match asks it who may be notified and by which rules, deliver asks it which pushers
// to poke.
//
//	PUSHERS ─────▶ Apply ──────▶ packed map ─────▶ Pushers, Find    (deliver)
//	PUSH_RULES ──▶ ApplyRules ──▶ compiled rules ─▶ Read, Rules      (match)
//	           ──▶ offer: proposals whose rules everyone has ─▶ Offers (match)
//
// The pushers of users whose partition this dispatcher owns are kept in full, encoded into
// a packed map (encoded.go, packedmap.go); what many of them have in common is kept once
// (templates.go). Of all other users the directory keeps only what match needs, about 50
// bytes each (G7). When the dispatcher gains a partition, the directory reads it from the
// bucket once more, while the watch goes on (partition.go). A change takes effect as soon
// as it arrives, and rooms follow change by change (changes.go). A user who lost the last
// pusher is remembered for as long as the notification log may hold something of theirs
// (former.go).
//
// A browser has a URL and a secret of its own, so a user with one takes about as much more as its
// data has bytes; the templates of others are not touched.
//
// Memory needs all three of packing, templates and light records: without any one of them a
// dispatcher that owns a quarter of the partitions exceeds 250 bytes a pusher, as `pokelab
// bench memory` counts them.
//
// A value that cannot be read changes nothing: what was known before stays. The directory
// does no I/O under its lock, and imports nothing else of the dispatcher.
package directory

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"poked/events"
	"poked/events/pushgateway"
	"poked/events/pushrule"
	"poked/events/stream"
)

// Directory knows every user's pushers and push rules. It is safe for concurrent use.
//
// All records are bytes in a packed map, decoded when deliver asks: however many users
// there are, the garbage collector has few pointers to follow. Records of partitions that
// another dispatcher owns are light, so memory falls with the share of the partitions.
type Directory struct {
	log *slog.Logger
	// changed is called after the pushers of a user in one of our partitions changed, by
	// the goroutine that applied the change. Two goroutines may call it at once; the
	// directory then answers with the newest state.
	changed func(events.UserID)
	// compiled is shared by users who have the same rules.
	compiled *pushrule.Cache

	// generated is how many changes there have been. It grows when a user gains the first
	// pusher, loses the last, or has a pusher and gets other rules; rooms then update
	// their audience.
	generated atomic.Uint64
	offers    atomic.Uint32 // pushrule.Offers: the proposals whose rules everyone has

	mu           sync.RWMutex
	watched      watched       // of PUSHERS
	watchedRules watched       // of PUSH_RULES
	news         chan struct{} // closed at the next change of either; nil if nobody waits
	partitions   []partition
	users        *packedMap // one record for each user with an enabled pusher
	templates    *templates
	buffer       []byte                                 // for encoding a record
	former       former                                 // users who had pushers lately
	rules        map[events.UserID]*UserRules           // never nil
	quiet        map[events.UserID]*events.DoNotDisturb // of users who want no pokes somewhere
	changes      changes
}

// New returns a directory of users in a number of partitions, all of which are ours until
// [Directory.Lose]. It calls changed after the pushers of a user in one of our partitions
// changed.
func New(policy *pushgateway.Policy, log *slog.Logger, partitions int, changed func(events.UserID)) *Directory {
	d := &Directory{
		log: log, changed: changed, compiled: pushrule.NewCache(), partitions: make([]partition, partitions),
		users: newPackedMap(), templates: newTemplates(policy), rules: map[events.UserID]*UserRules{},
		quiet: map[events.UserID]*events.DoNotDisturb{},
	}
	for part := range d.partitions {
		d.partitions[part].ours = true
	}
	return d
}

// Watch follows the bucket of pushers until ctx ends or the watch fails, and calls ready
// when everything it held is known; see [stream.Conn.WatchPushers].
func (d *Directory) Watch(ctx context.Context, conn *stream.Conn, ready func()) error {
	d.beginWatch()
	return conn.WatchPushers(ctx, d.Apply, func() {
		d.loaded()
		ready()
	})
}

// WatchRules follows the bucket of push rules as Watch follows that of pushers.
func (d *Directory) WatchRules(ctx context.Context, conn *stream.Conn, ready func()) error {
	d.mu.Lock()
	d.watchedRules = watched{}
	d.mu.Unlock()
	return conn.WatchPushRules(ctx, d.ApplyRules, d.offer, func() {
		d.mu.Lock()
		d.watchedRules.all = true
		d.announce()
		d.mu.Unlock()
		ready()
	})
}

// beginWatch is called before the watch delivers everything again: the bucket may have been
// created again, with revisions from 1.
func (d *Directory) beginWatch() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for part := range d.partitions {
		d.partitions[part].read = 0
	}
	d.watched = watched{}
}

// loaded is called when the watch has delivered everything: nothing up to the newest
// revision is unknown from now on.
func (d *Directory) loaded() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watched.all = true
	d.announce()
}

// Apply applies a user's pushers as the registry published them. A disabled pusher counts
// as absent, and so does a browser that has yet to be activated.
func (d *Directory) Apply(set events.UserPushers) {
	if set.UserID != "" { // else the value cannot be read: what was known before stays
		d.update(&set, (*partition).isNewFromWatch)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watched.revision = max(d.watched.revision, set.Revision)
	d.announce()
}

// update applies a user's pushers if they are newer than what the partition has.
func (d *Directory) update(set *events.UserPushers, isNew func(*partition, *events.UserPushers) bool) {
	part := events.PartitionOf(events.Token(set.UserID), len(d.partitions))
	pushers := enabled(set.Pushers)
	d.mu.Lock()
	p := &d.partitions[part]
	changed, refused := false, false
	if isNew(p, set) {
		changed, refused = d.put(part, set, pushers)
	}
	changed = changed && p.ours
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
	disabled := func(p events.Pusher) bool { return !p.IsPoked() }
	if !slices.ContainsFunc(pushers, disabled) {
		return pushers
	}
	return slices.DeleteFunc(slices.Clone(pushers), disabled)
}

// put replaces the pushers of a user by those of set that are enabled. It reports whether
// anything changed, and whether the policy forbids poking one of them. The caller holds
// the mutex.
func (d *Directory) put(part int, set *events.UserPushers, pushers []events.Pusher) (changed, refused bool) {
	user := set.UserID
	before, p := d.users.get(user), &d.partitions[part]
	if len(pushers) > 0 {
		d.former.remove(user)
	} else {
		d.former.add(user, set.At, time.Now())
		if before != nil {
			d.uncount(p, before)
			d.users.remove(user)
			d.note(user)
		}
		return before != nil, false
	}
	if p.ours {
		d.buffer, refused = d.templates.appendFull(d.buffer[:0], part, set.Revision, pushers)
	} else {
		d.buffer = appendLight(d.buffer[:0], part, set.Revision, pushers)
	}
	changed = !bytes.Equal(before, d.buffer)
	if before != nil {
		d.uncount(p, before)
	}
	if changed {
		d.users.put(user, d.buffer)
	}
	p.count(d.buffer, 1)
	if before == nil {
		d.note(user)
	}
	return changed, refused
}

// uncount releases the templates of a record that is removed, and removes the record from
// its partition's count. The caller holds the mutex.
func (d *Directory) uncount(p *partition, encoded []byte) {
	d.templates.releaseAll(encoded)
	p.count(encoded, -1)
}

// warn logs which pushers of a user must not be poked.
func (d *Directory) warn(user events.UserID) {
	for _, p := range d.Pushers(user) {
		if p.Refused != nil {
			d.log.Warn("pusher cannot be poked", "user_id", p.User, "app_id", p.AppID, "pusher", p.ID, "error", p.Refused)
		}
	}
}

// ApplyRules applies a user's push rules as the registry published them.
func (d *Directory) ApplyRules(set events.UserPushRules) {
	rules := newUserRules(&set, d.compiled)
	d.mu.Lock()
	defer d.mu.Unlock()
	if set.UserID != "" { // else the value cannot be read: what was known before stays
		d.putRules(&set, rules)
	}
	d.watchedRules.revision = max(d.watchedRules.revision, set.Revision)
	d.announce()
}

func (d *Directory) offer(offers pushrule.Offers) {
	if before := pushrule.Offers(d.offers.Swap(uint32(offers))); before != offers { //nolint:gosec // it came from there
		d.log.Info("rules of proposals are offered", "proposals", offers.Names())
	}
}

// Offers returns the proposals whose rules everyone has.
func (d *Directory) Offers() pushrule.Offers { return pushrule.Offers(d.offers.Load()) } //nolint:gosec // it came from there

// putRules replaces the push rules of a user. The caller holds the mutex.
func (d *Directory) putRules(set *events.UserPushRules, rules *UserRules) {
	if set.DoNotDisturb != nil {
		d.quiet[set.UserID] = set.DoNotDisturb
	} else {
		delete(d.quiet, set.UserID)
	}
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

// note records a change that rooms have to follow. The caller holds the mutex.
func (d *Directory) note(user events.UserID) {
	d.changes.add(user)
	d.generated.Store(d.changes.count)
}

// Generation returns how many changes rooms have to follow, without waiting for the lock.
func (d *Directory) Generation() uint64 { return d.generated.Load() }

// Rules returns a user's push rules, and whether the user has an enabled pusher. The rules
// are nil if the predefined ones apply unchanged.
func (d *Directory) Rules(user events.UserID) (rules *UserRules, hasPusher bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.rules[user], d.users.has(user)
}

// DoNotDisturb reports whether a user wants to hear nothing of a notification in a room.
func (d *Directory) DoNotDisturb(user events.UserID, room events.RoomID, highlight bool) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.quiet[user].Covers(room, highlight)
}

// Has reports whether a user has an enabled pusher, in any partition.
func (d *Directory) Has(user events.UserID) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.users.has(user)
}

// Knows reports whether a user has pushers, or had some lately: only then may the user's
// notification log hold something to read.
func (d *Directory) Knows(user events.UserID) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.former.has(user) || d.users.has(user)
}

// ForgetFormer forgets users who have had no pushers for longer than the notification log
// is kept.
func (d *Directory) ForgetFormer(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.former.rotate(now)
}

// Pushers returns the enabled pushers of a user in one of our partitions, new values each
// time.
func (d *Directory) Pushers(user events.UserID) []*Pusher {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if encoded := d.users.get(user); encoded != nil {
		return d.templates.decode(user, encoded)
	}
	return nil
}

// Find looks for pushers among the users of one of our partitions, and sets their owners.
// It visits every user of every partition, so it is a last resort.
func (d *Directory) Find(part int, owners map[events.PusherID]events.UserID) {
	for i := range d.users.shards {
		d.mu.RLock()
		d.users.shards[i].each(func(user, encoded []byte) {
			if r := newReader(encoded); !r.full || r.part != part {
				return
			}
			for _, p := range d.templates.decode(events.UserID(user), encoded) {
				if _, sought := owners[p.ID]; sought {
					owners[p.ID] = p.User
				}
			}
		})
		d.mu.RUnlock()
	}
}

// Handles returns the instance handles of a user's enabled pushers, in any partition, each
// at least once; "" is for pushers without one.
func (d *Directory) Handles(user events.UserID) []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if encoded := d.users.get(user); encoded != nil {
		return handlesOf(encoded)
	}
	return nil
}

// IsCurrent reports whether a user's pushers are known as they were at a revision of
// PUSHERS, or later.
func (d *Directory) IsCurrent(user events.UserID, revision uint64) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.watched.reached(revision) || d.revisionOf(user) >= revision
}

// Revision returns the revision of PUSHERS at which a user got the pushers that are known,
// or 0 if there are none.
func (d *Directory) Revision(user events.UserID) uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.revisionOf(user)
}

// revisionOf is Revision for a caller that holds the mutex.
func (d *Directory) revisionOf(user events.UserID) uint64 {
	encoded := d.users.get(user)
	if encoded == nil {
		return 0
	}
	return newReader(encoded).revision
}

// Sizes returns how many users have an enabled pusher, and how many have push rules of
// their own.
func (d *Directory) Sizes() (pushers, rules int) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.users.users, len(d.rules)
}
