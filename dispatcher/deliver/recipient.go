package deliver

import (
	"time"

	"poked/dispatcher/directory"
	"poked/events"
)

// recipient is a user with pushers.
type recipient struct {
	lanes    []*lane
	activeAt time.Time // when the user read something last
}

// recipient returns a user with their lanes, made when they are first needed. A user without
// pushers is not remembered.
func (d *Deliverer) recipient(user events.UserID) *recipient {
	r := d.people[user]
	if r == nil {
		r = &recipient{}
		if r.assign(d, d.Directory.Pushers(user)); len(r.lanes) > 0 {
			d.people[r.lanes[0].pusher.User] = r // a string of its own: user may be part of a message
		}
	}
	return r
}

// assign gives each pusher its lane, kept or new, and ends the lanes of removed pushers.
func (r *recipient) assign(d *Deliverer, pushers []*directory.Pusher) {
	old := r.lanes
	r.lanes = make([]*lane, 0, len(pushers))
	kept := map[*lane]bool{}
	for _, p := range pushers {
		l := findLane(old, p.ID)
		if l == nil {
			l = d.newLane(p)
		}
		kept[l] = true
		l.set(p)
		r.lanes = append(r.lanes, l)
	}
	for _, l := range old {
		if !kept[l] {
			l.remove()
		}
	}
	if !d.restoring {
		r.inherit(d)
	}
}

// newLane makes a lane for a pusher. A pusher that is set again while the record of its last
// lane is still being deleted gets that lane back, so that its writes keep their order.
func (d *Deliverer) newLane(p *directory.Pusher) *lane {
	if l := d.ending[p.ID]; l != nil {
		delete(d.ending, p.ID)
		l.gone, l.refused, l.restoredTo = false, nil, 0
		return l
	}
	return &lane{d: d, pusher: p}
}

// findLane returns the lane of a pusher, or nil.
func findLane(lanes []*lane, id events.PusherID) *lane {
	for _, l := range lanes {
		if l.pusher.ID == id {
			return l
		}
	}
	return nil
}

// PushersChanged updates a user's lanes after a change of their pushers.
func (d *Deliverer) PushersChanged(user events.UserID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.people[user]
	if r == nil {
		return // the user has no lanes yet
	}
	pushers := d.Directory.Pushers(user)
	r.assign(d, pushers)
	if len(pushers) == 0 {
		delete(d.people, user)
	}
}
