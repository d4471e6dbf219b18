package dispatcher

import (
	"maps"
	"slices"

	"poked/events"
	"poked/events/pushrule"
)

// userRules is what a user wants to hear that is not what the predefined rules
// say. It never changes. Of nearly every user there is none: nil stands for the
// predefined rules.
type userRules struct {
	global  *pushrule.Compiled
	devices map[string]*pushrule.Compiled // by instance handle; nil for nearly everyone
	ignored []events.UserID               // senders, sorted
}

// newUserRules compiles a user's rules; nil if they are the predefined ones. Equal
// rulesets are compiled once for all who have them.
func newUserRules(set *events.UserPushRules, shared *pushrule.Cache) *userRules {
	if set.IsEmpty() {
		return nil
	}
	global := set.Global()
	rules := &userRules{global: shared.Compile(&global, string(set.UserID))}
	for handle, own := range set.Devices {
		if rules.devices == nil {
			rules.devices = make(map[string]*pushrule.Compiled, len(set.Devices))
		}
		rules.devices[handle] = shared.Compile(&own, string(set.UserID))
	}
	rules.ignored = slices.Compact(slices.Sorted(slices.Values(set.IgnoredUsers)))
	if rules.equal(nil) {
		return nil
	}
	return rules
}

// compiled returns the rules that are the same for all of the user's devices.
func (u *userRules) compiled() *pushrule.Compiled {
	if u == nil {
		return pushrule.Everyone()
	}
	return u.global
}

// ignores says whether the user does not want to hear of a sender.
func (u *userRules) ignores(sender events.UserID) bool {
	if u == nil {
		return false
	}
	_, found := slices.BinarySearch(u.ignored, sender)
	return found
}

// equal says whether two users' rules, or two versions of one's, are the same.
func (u *userRules) equal(v *userRules) bool {
	if u == nil || v == nil {
		either := u
		if either == nil {
			either = v
		}
		return either == nil || either.global == pushrule.Everyone() && len(either.devices)+len(either.ignored) == 0
	}
	return u.global == v.global && maps.Equal(u.devices, v.devices) && slices.Equal(u.ignored, v.ignored)
}
