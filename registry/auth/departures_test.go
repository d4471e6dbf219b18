package auth

import (
	"fmt"
	"testing"

	"poked/events"
)

// For a logout that is no longer remembered, unless reports that it may have happened.
func TestDeparturesAreBounded(t *testing.T) {
	const alice, bob events.UserID = "@alice:example.org", "@bob:example.org"
	d, err := newDepartures()
	if err != nil {
		t.Fatal(err)
	}
	before := Identity{UserID: alice, DeviceID: "PHONE", asked: d.now()}
	for i := range maxDepartures {
		d.add(bob, fmt.Sprint(i))
	}
	holds := func(identity Identity) bool { return d.unless(identity, func() {}) }
	if !holds(before) || !holds(Identity{UserID: bob, DeviceID: "0", asked: d.now()}) || holds(Identity{UserID: bob, DeviceID: "0"}) {
		t.Error("logouts of other users count, or the user's own do not")
	}
	d.add(bob, "one more")
	d.add(bob, "and one")
	if holds(before) || !holds(Identity{UserID: alice, asked: d.now()}) {
		t.Error("a forgotten logout counts as none")
	}
}
