package deliver

import (
	"context"
	"fmt"
	"slices"

	"poked/events"
	"poked/events/owner"
	"poked/events/wait"
)

// loadAtOnce is for how many users one request loads the inboxes.
const loadAtOnce = 64

// load loads the inboxes of users that are not in memory. When it returns nil all of them
// are, and stay there until the sweep after the next one.
func (d *Deliverer) load(ctx context.Context, users ...events.UserID) error {
	for {
		mine, others := d.missing(users)
		switch {
		case len(mine) > 0:
			values, err := d.loadSnapshots(ctx, mine)
			d.loaded(mine, values)
			if err != nil {
				return err
			}
		case others != nil:
			select {
			case <-others:
			case <-ctx.Done():
				return ctx.Err()
			}
		default:
			return nil
		}
	}
}

// mustLoad is load that is repeated until it works, or ctx ends.
func (d *Deliverer) mustLoad(ctx context.Context, users ...events.UserID) error {
	return wait.Until(ctx, wait.RetryPause, d.waiting, func() error { return d.load(ctx, users...) })
}

// missing returns some of the users whose inboxes the caller has to load, or a channel that
// is closed when another goroutine has loaded one.
func (d *Deliverer) missing(users []events.UserID) (mine []events.UserID, others <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, user := range users {
		if in := d.inboxes[user]; in != nil {
			in.used = true
			continue
		}
		if loading := d.loading[user]; loading != nil {
			others = loading
			continue
		}
		if len(mine) < loadAtOnce && !slices.Contains(mine, user) {
			mine = append(mine, events.UserID([]byte(user))) // a copy: user is part of a message
		}
	}
	if len(mine) > 0 {
		loading := make(chan struct{})
		for _, user := range mine {
			d.loading[user] = loading
		}
	}
	return mine, others
}

func (d *Deliverer) loadSnapshots(ctx context.Context, users []events.UserID) (map[events.UserID]*inbox, error) {
	values, err := d.store.Load(ctx, users)
	if err != nil {
		return nil, fmt.Errorf("load what users have not read: %w", err)
	}
	d.mu.Lock()
	position := d.position
	d.mu.Unlock()
	loaded := make(map[events.UserID]*inbox, len(users))
	for _, user := range users {
		loaded[user] = &inbox{rooms: map[events.RoomID]*unreadRoom{}, used: true, bytes: inboxBytes}
	}
	for i := range values {
		in := loaded[values[i].User]
		if in == nil {
			continue
		}
		room, err := events.ParseInboxRoom(values[i].Value)
		if err != nil {
			if err := d.store.KeepBad(ctx, &values[i], err); err != nil {
				return nil, err
			}
			room = events.InboxRoom{Incarnation: position.Incarnation}
		}
		in.install(values[i].Room, room, position)
	}
	return loaded, nil
}

// install adds a room as its snapshot has it. A room without anything unread is needed only
// if its snapshot is newer than the position: then it says what was read.
func (in *inbox) install(id events.RoomID, room events.InboxRoom, position events.InboxPosition) {
	position.Apply(&room)
	r := &unreadRoom{InboxRoom: room, id: id}
	if r.isEmpty() && r.Applied <= position.Seq {
		return
	}
	in.rooms[id] = r
	in.messages += r.counted()
	in.bytes += r.size()
	in.oldest = 0 // to be looked at
}

// loaded adds inboxes that were loaded; those of users that are missing were not.
func (d *Deliverer) loaded(users []events.UserID, values map[events.UserID]*inbox) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, user := range users {
		if loading := d.loading[user]; user == users[0] {
			close(loading)
		}
		delete(d.loading, user)
		if in := values[user]; in != nil {
			d.inboxes[user] = in
			d.inboxBytes += in.bytes
			d.expire(user, in)
		}
	}
}

// expire removes from an inbox what is older than the log.
func (d *Deliverer) expire(user events.UserID, in *inbox) {
	d.resize(in, func() {
		for _, r := range in.expire(d.logBegin) {
			d.snapshots.touch(user, in, r)
		}
	})
}

// room returns a room of an inbox, made if there is none: then nothing in it is unread as of
// the position of the snapshots.
func (d *Deliverer) room(in *inbox, id events.RoomID) *unreadRoom {
	r := in.rooms[id]
	if r == nil {
		r = &unreadRoom{
			InboxRoom: events.InboxRoom{Applied: d.position.Seq, Incarnation: d.position.Incarnation},
			id:        events.RoomID([]byte(id)), // a copy: id is part of a message
		}
		in.rooms[r.id] = r
		in.bytes += roomBytes
	}
	return r
}

// resize calls change, which changes an inbox, and keeps account of the memory. The caller
// holds the mutex.
func (d *Deliverer) resize(in *inbox, change func()) {
	before := in.bytes
	change()
	d.inboxBytes += in.bytes - before
}

// recentLimit returns how many bytes this partition's inboxes may take, and as many its
// newest notifications.
func (d *Deliverer) recentLimit() int {
	return int(d.Recent) / 2 / max(int(d.Owned.Load()), 1)
}

// sweep, of the goroutine that handles messages, drops inboxes that were not used since the last sweep, once all take more memory
// than they may. Those with changes that are not stored stay, as do those of users with
// something to send.
func (d *Deliverer) sweep() {
	limit := d.recentLimit()
	if d.inboxBytes <= limit {
		return
	}
	for user, in := range d.inboxes {
		if d.inboxBytes <= limit/4*3 {
			return
		}
		if used := in.used; used || in.unsaved > 0 || d.isSending(user) {
			in.used = false
			continue
		}
		d.inboxBytes -= in.bytes
		delete(d.inboxes, user)
	}
}

// isSending reports whether a lane of a user needs the inbox.
func (d *Deliverer) isSending(user events.UserID) bool {
	r := d.people[user]
	return d.late[user] != nil || d.badges[user] != nil ||
		r != nil && slices.ContainsFunc(r.lanes, func(l *lane) bool { return len(l.queue) > 0 || l.scheduled })
}

// list answers which notifications a user has not read.
func (d *Deliverer) list(ctx context.Context, query owner.ListQuery) (page []owner.ListedNotification, next uint64, err error) {
	select {
	case <-d.replayed:
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("the partition is being taken over: %w", ctx.Err())
	}
	if !d.Gates.lease.Held() {
		return nil, 0, errNotOwner
	}
	places, err := d.unreadBefore(ctx, query)
	if err != nil {
		return nil, 0, err
	}
	more := len(places) > query.Limit
	if more {
		places = places[:query.Limit]
	}
	bodies, err := d.fetch(ctx, places)
	if err != nil {
		return nil, 0, err
	}
	for _, p := range places {
		if n := bodies.of(query.User, p); n != nil {
			page = append(page, owner.ListedNotification{Notification: *n, Seq: p.seq, Room: p.room})
		}
		next = p.seq
	}
	if !more {
		next = 0
	}
	return page, next, nil
}

// unreadBefore returns what a query asks for, newest first, and one more if there is more.
func (d *Deliverer) unreadBefore(ctx context.Context, query owner.ListQuery) ([]placeIn, error) {
	for {
		if err := d.load(ctx, query.User); err != nil {
			return nil, err
		}
		if places, known := d.listed(query); known { // else the worker has dropped the inbox since
			return places, nil
		}
	}
}

// listed is unreadBefore for an inbox that is in memory. known reports whether it is.
func (d *Deliverer) listed(query owner.ListQuery) (places []placeIn, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	in := d.inboxes[query.User]
	if in == nil {
		return nil, false
	}
	d.expire(query.User, in)
	all, _, _ := in.after(0)
	for _, p := range slices.Backward(all) {
		if query.Before > 0 && p.seq >= query.Before || p.flags&events.InboxRetried != 0 ||
			query.Highlight && p.flags&events.InboxHighlight == 0 ||
			query.Event != "" && (p.room != query.Room || p.hash != events.HashEvent(query.Event)) {
			continue
		}
		if places = append(places, p); len(places) > query.Limit {
			break
		}
	}
	return places, true
}
