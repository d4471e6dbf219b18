package directory

import (
	"maps"
	"slices"

	"poked/events"
	"poked/events/pushrule"
)

// UserRules is what a user's push rules say that differs from the predefined ones. It
// never changes. Nearly every user has none: nil means the predefined rules.
type UserRules struct {
	global *pushrule.Compiled
	// Devices holds the rules of single devices, by instance handle. It must not be
	// changed, and is nil for nearly everyone.
	Devices map[string]*pushrule.Compiled
	ignored []events.UserID // senders, sorted
}

// newUserRules compiles a user's rules. It returns nil if they are the predefined ones.
// Equal rulesets are compiled once for all users who have them.
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

// Compiled returns the rules that apply to all of the user's devices.
func (u *UserRules) Compiled() *pushrule.Compiled {
	if u == nil {
		return pushrule.Everyone()
	}
	return u.global
}

// Ignores reports whether the user ignores a sender.
func (u *UserRules) Ignores(sender events.UserID) bool {
	if u == nil {
		return false
	}
	_, found := slices.BinarySearch(u.ignored, sender)
	return found
}

// equal reports whether two users' rules, or two versions of one user's, are the same.
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
