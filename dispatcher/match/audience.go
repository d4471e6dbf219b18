package match

import (
	"cmp"
	"slices"

	"poked/dispatcher/directory"
	"poked/events"
	"poked/events/pushrule"
)

// audience is the users whom an event in a room may notify: the joined members who have a
// pusher. It is kept from event to event, and updated change by change as members and the
// directory change. The goroutine that owns the room owns it.
type audience struct {
	targets []target // by user id, so that matching again meets them in the same order
	classes []class
	classOf map[classKey]int // index in classes
	free    []int            // indexes in classes that no target uses

	complete bool            // except for moved, and for newer changes of the directory
	moved    []events.UserID // members who joined or left
	seen     uint64          // how many of the directory's changes are included
}

// target is a joined member who has a pusher.
type target struct {
	*member
	rules *directory.UserRules // nil for nearly everyone
	class int
}

// class groups the targets for whom the same rules decide, so that what does not depend on
// the user is decided once for all of them.
type class struct {
	classKey
	size int // targets; 0 if the index is free
}

// classKey is what the targets of a class have in common.
type classKey struct {
	rules *pushrule.Compiled
	own   *directory.UserRules // of the only target, if its devices have rules of their own
}

func keyOf(rules *directory.UserRules) classKey {
	key := classKey{rules: rules.Compiled()}
	if rules != nil && len(rules.Devices) > 0 {
		key.own = rules
	}
	return key
}

// memberChanged records that a member joined or left.
func (a *audience) memberChanged(id events.UserID) {
	if a.complete {
		a.moved = append(a.moved, id)
	}
}

// refresh updates the audience to the room's members and the directory.
func (a *audience) refresh(members map[events.UserID]*member, dir *directory.Directory) {
	if a.complete && len(a.moved) == 0 && a.seen == dir.Generation() {
		return
	}
	dir.Read(func(v directory.View) {
		missed := v.Generation() - a.seen
		if a.complete && v.Remembers(a.seen) && len(a.moved)+int(missed) <= len(members) { //nolint:gosec // the directory remembers them
			for _, id := range a.moved {
				a.update(members[id], v)
			}
			v.ChangedSince(a.seen, func(id events.UserID) { a.update(members[id], v) })
		} else {
			a.rebuild(members, v)
		}
		a.moved, a.seen = nil, v.Generation()
	})
}

// rebuild looks up every member.
func (a *audience) rebuild(members map[events.UserID]*member, v directory.View) {
	clear(a.targets)
	*a = audience{targets: a.targets[:0], classOf: map[classKey]int{}, complete: true}
	for id, m := range members {
		if rules, hasPusher := v.Rules(id); hasPusher && m.membership == "join" {
			a.targets = append(a.targets, a.target(m, rules))
		}
	}
	slices.SortFunc(a.targets, func(t, u target) int { return cmp.Compare(t.id, u.id) })
}

// search returns the index of a user in targets, or where it belongs.
func (a *audience) search(id events.UserID) (int, bool) {
	return slices.BinarySearchFunc(a.targets, id, func(t target, id events.UserID) int { return cmp.Compare(t.id, id) })
}

// find returns a user's target, or nil.
func (a *audience) find(id events.UserID) *target {
	if i, found := a.search(id); found {
		return &a.targets[i]
	}
	return nil
}

// update updates one user, who may be no member: m is nil then.
func (a *audience) update(m *member, v directory.View) {
	if m == nil {
		return
	}
	i, found := a.search(m.id)
	if found {
		a.removeFrom(a.targets[i].class)
	}
	rules, hasPusher := v.Rules(m.id)
	switch belongs := hasPusher && m.membership == "join"; {
	case belongs && found:
		a.targets[i] = a.target(m, rules)
	case belongs:
		a.targets = slices.Insert(a.targets, i, a.target(m, rules))
	case found:
		a.targets = slices.Delete(a.targets, i, i+1)
	}
}

// target makes a target and adds it to its class.
func (a *audience) target(m *member, rules *directory.UserRules) target {
	key := keyOf(rules)
	index, ok := a.classOf[key]
	if !ok {
		index = a.freeIndex()
		a.classes[index].classKey = key
		a.classOf[key] = index
	}
	a.classes[index].size++
	return target{member: m, rules: rules, class: index}
}

// freeIndex returns an index for a new class.
func (a *audience) freeIndex() int {
	if last := len(a.free) - 1; last >= 0 {
		index := a.free[last]
		a.free = a.free[:last]
		return index
	}
	a.classes = append(a.classes, class{})
	return len(a.classes) - 1
}

// removeFrom removes one target from a class.
func (a *audience) removeFrom(index int) {
	c := &a.classes[index]
	if c.size--; c.size == 0 {
		delete(a.classOf, c.classKey)
		c.classKey = classKey{}
		a.free = append(a.free, index)
	}
}
