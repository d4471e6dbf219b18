package match

import (
	"cmp"
	"slices"

	"poked/dispatcher/directory"
	"poked/events"
	"poked/events/pushrule"
)

// audience is who of a room may be notified: its joined members who have a
// pusher. It is kept from event to event, and follows the members and the
// directory change by change. The goroutine that owns the room owns it.
type audience struct {
	targets []target // by user id, so that a repetition meets them in the same order
	classes []class
	places  map[classKey]int // in classes
	free    []int            // places that have nobody

	complete bool            // but for moved, and for what the directory has learned since
	moved    []events.UserID // who joined or left
	seen     uint64          // how many of the directory's changes are in
}

// target is a joined member who has a pusher.
type target struct {
	*member
	rules *directory.UserRules // nil for nearly everyone
	class int
}

// class is the targets for whom the same rules decide, so that what does not
// depend on the user is decided once for all of them.
type class struct {
	classKey
	size int // 0: the place is free
}

// classKey is what the targets of a class have in common.
type classKey struct {
	rules *pushrule.Compiled
	own   *directory.UserRules // of the one target whose devices have rules of their own
}

func keyOf(rules *directory.UserRules) classKey {
	key := classKey{rules: rules.Compiled()}
	if rules != nil && len(rules.Devices) > 0 {
		key.own = rules
	}
	return key
}

// move takes in that a member joined or left.
func (a *audience) move(id events.UserID) {
	if a.complete {
		a.moved = append(a.moved, id)
	}
}

// follow brings the audience up to date with the room's members and with the
// directory.
func (a *audience) follow(members map[events.UserID]*member, dir *directory.Directory) {
	if a.complete && len(a.moved) == 0 && a.seen == dir.Generation() {
		return
	}
	dir.Read(func(v directory.View) {
		missed := v.Generation() - a.seen
		if a.complete && v.Remembers(a.seen) && len(a.moved)+int(missed) <= len(members) { //nolint:gosec // missed is at most changeMemory
			for _, id := range a.moved {
				a.look(members[id], v)
			}
			v.ChangedSince(a.seen, func(id events.UserID) { a.look(members[id], v) })
		} else {
			a.lookAtAll(members, v)
		}
		a.moved, a.seen = nil, v.Generation()
	})
}

// lookAtAll forgets everything and looks at every member.
func (a *audience) lookAtAll(members map[events.UserID]*member, v directory.View) {
	clear(a.targets)
	*a = audience{targets: a.targets[:0], places: map[classKey]int{}, complete: true}
	for id, m := range members {
		if rules, can := v.Rules(id); can && m.membership == "join" {
			a.targets = append(a.targets, a.target(m, rules))
		}
	}
	slices.SortFunc(a.targets, func(t, u target) int { return cmp.Compare(t.id, u.id) })
}

// look takes in what has become of one user, who may be no member.
func (a *audience) look(m *member, v directory.View) {
	if m == nil {
		return
	}
	i, found := slices.BinarySearchFunc(a.targets, m.id, func(t target, id events.UserID) int { return cmp.Compare(t.id, id) })
	if found {
		a.leave(a.targets[i].class)
	}
	rules, can := v.Rules(m.id)
	switch belongs := can && m.membership == "join"; {
	case belongs && found:
		a.targets[i] = a.target(m, rules)
	case belongs:
		a.targets = slices.Insert(a.targets, i, a.target(m, rules))
	case found:
		a.targets = slices.Delete(a.targets, i, i+1)
	}
}

// target makes a target, which enters its class.
func (a *audience) target(m *member, rules *directory.UserRules) target {
	key := keyOf(rules)
	place, ok := a.places[key]
	if !ok {
		place = a.place()
		a.classes[place].classKey = key
		a.places[key] = place
	}
	a.classes[place].size++
	return target{member: m, rules: rules, class: place}
}

// place returns a place for a class.
func (a *audience) place() int {
	if last := len(a.free) - 1; last >= 0 {
		place := a.free[last]
		a.free = a.free[:last]
		return place
	}
	a.classes = append(a.classes, class{})
	return len(a.classes) - 1
}

// leave has one target less in a class.
func (a *audience) leave(place int) {
	c := &a.classes[place]
	if c.size--; c.size == 0 {
		delete(a.places, c.classKey)
		c.classKey = classKey{}
		a.free = append(a.free, place)
	}
}
