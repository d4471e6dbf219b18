package match

import (
	"testing"

	"poked/events"
)

// What a room may keep of subscriptions is bounded, and ended ones leave nothing behind.
func TestSubscriptionsAreBounded(t *testing.T) {
	var s subscriptions
	set := func(thread events.EventID, user events.UserID, subscribed, want bool) {
		t.Helper()
		if got := s.set(events.ThreadSubscription{Thread: thread, UserID: user, Subscribed: subscribed}, 2); got != want {
			t.Errorf("%s of %s: there was room: %t", thread, user, got)
		}
	}
	set("$t", "@a:x", false, true)
	set("$t", "@a:x", true, true)
	set("$t", "@a:x", true, true)
	set("$u", "@b:x", true, true)
	set("$u", "@a:x", true, false)
	set("$u", "@c:x", false, true)
	set("$t", "@a:x", false, true)
	set("$u", "@a:x", true, true)
	if _, held := s.threads["$t"]; held || len(s.threads["$u"]) != 2 || s.count != 2 {
		t.Errorf("%+v", s)
	}
}
