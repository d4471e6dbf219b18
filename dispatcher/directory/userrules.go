package directory

import (
	"maps"
	"slices"

	"poked/events"
	"poked/events/pushrule"
)

// UserRules is what a user wants to hear that is not what the predefined rules
// say. It never changes. Of nearly every user there is none: nil stands for the
// predefined rules.
type UserRules struct {
	global  *pushrule.Compiled
	Devices map[string]*pushrule.Compiled // by instance handle; nil for nearly everyone
	ignored []events.UserID               // senders, sorted
}

// newUserRules compiles a user's rules; nil if they are the predefined ones. Equal
// rulesets are compiled once for all who have them.
func newUserRules(set *events.UserPushRules, shared *pushrule.Cache) *UserRules {
	if set.IsEmpty() {
		return nil
	}
	global := set.Global()
	rules := &UserRules{global: shared.Compile(&global, string(set.UserID))}
	for handle, own := range set.Devices {
		if rules.Devices == nil {
			rules.Devices = make(map[string]*pushrule.Compiled, len(set.Devices))
		}
		rules.Devices[handle] = shared.Compile(&own, string(set.UserID))
	}
	rules.ignored = slices.Compact(slices.Sorted(slices.Values(set.IgnoredUsers)))
	if rules.equal(nil) {
		return nil
	}
	return rules
}

// Compiled returns the rules that are the same for all of the user's devices.
func (u *UserRules) Compiled() *pushrule.Compiled {
	if u == nil {
		return pushrule.Everyone()
	}
	return u.global
}

// Ignores says whether the user does not want to hear of a sender.
func (u *UserRules) Ignores(sender events.UserID) bool {
	if u == nil {
		return false
	}
	_, found := slices.BinarySearch(u.ignored, sender)
	return found
}

// equal says whether two users' rules, or two versions of one's, are the same.
func (u *UserRules) equal(v *UserRules) bool {
	if u == nil || v == nil {
		either := u
		if either == nil {
			either = v
		}
		return either == nil || either.global == pushrule.Everyone() && len(either.Devices)+len(either.ignored) == 0
	}
	return u.global == v.global && maps.Equal(u.Devices, v.Devices) && slices.Equal(u.ignored, v.ignored)
}
