package registry

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/publish"
)

// subscribed returns who is subscribed to threads by the state that NATS holds, or was once.
func (h *house) subscribed() string {
	h.t.Helper()
	var all []string
	for _, msg := range h.nats.Stored("ROOM_STATE", "") {
		sub, err := events.ParseThreadSubscription(msg.Data)
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, fmt.Sprint(sub.RoomID, " ", sub.Thread, " ", sub.UserID, " ", sub.Subscribed))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// listing makes the homeserver list alice's subscriptions, in two pages.
func listing(hs *eventstest.Homeserver, first *atomic.Pointer[string]) {
	hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
		query := r.URL.Query()
		switch ours := strings.HasSuffix(r.URL.Path, "/io.element.msc4308/thread_subscriptions"); {
		case !ours:
			return eventstest.Reply{}, false
		case *first.Load() == "":
			return eventstest.Reply{Status: http.StatusServiceUnavailable, Body: "{}"}, true
		case query.Get("user_id") != alice && r.Header.Get("Authorization") != "Bearer alice-phone", query.Get("dir") != "b":
			return eventstest.Reply{Status: http.StatusOK, Body: "{}"}, true
		case query.Get("from") == "older":
			return eventstest.Reply{Status: http.StatusOK, Body: `{"subscribed":{"!q:x":{"$u":{"automatic":true,"bump_stamp":1}}}}`}, true
		}
		return eventstest.Reply{Status: http.StatusOK, Body: *first.Load()}, true
	})
}

// Subscriptions that were made before poked was there, or while it was away, are published when the
// user is looked at: those that NATS does not have yet, and no others.
func TestThreadSubscriptionsMadeWithoutPokedAreFetched(t *testing.T) {
	eventstest.Long(t)
	h, hs := newRegisteredHouse(t, func(c *Config) { c.OfferRules = "msc4306" })
	var first atomic.Pointer[string]
	first.Store(new(`{"subscribed":{"!r:x":{"$t/+":{"automatic":false,"bump_stamp":3},"":{}}},"unsubscribed":{"!r:x":{"$never":{"bump_stamp":2}}},"end":"older"}`))
	listing(hs, &first)
	h.setAll()
	h.run()
	const whole = "!q:x $u " + alice + " true, !r:x $t/+ " + alice + " true"
	eventstest.WaitFor(t, "the subscriptions", func() bool { return h.subscribed() == whole })
	asked := func() int {
		return len(slices.DeleteFunc(hs.Hits("GET /_matrix/client/unstable/io.element.msc4308/"), func(hit string) bool {
			return !strings.Contains(hit, "user_id=%40alice") || strings.Contains(hit, "from=")
		}))
	}
	look := func() { // twice: then what began before is over, and what the second knows is published by the next
		t.Helper()
		for range 2 {
			before := asked()
			if err := publish.NewPublisher(h.conn).Refetch(t.Context(), alice); err != nil {
				t.Fatal(err)
			}
			h.waitFor("the homeserver to be asked", func() bool { return asked() > before })
		}
	}
	look()
	published := func() (n int) {
		for _, msg := range h.nats.Stored("ROOMS", "") {
			if _, err := events.ParseThreadSubscription(msg.Data); err == nil {
				n++
			}
		}
		return n
	}
	before := published()
	look()
	if n := published(); n != before {
		t.Errorf("%d messages of what is known", n-before)
	}
	first.Store(new(`{"unsubscribed":{"!r:x":{"$t/+":{"bump_stamp":4}}},"end":"older"}`))
	look()
	eventstest.WaitFor(t, "the end of one", func() bool {
		return h.subscribed() == strings.Replace(whole, "$t/+ "+alice+" true", "$t/+ "+alice+" false", 1)
	})
}

// A list that cannot be fetched keeps nobody from setting a pusher; unless the rules are offered nobody
// asks for it.
func TestThreadSubscriptionsThatCannotBeFetchedFailNothing(t *testing.T) {
	for _, offered := range []string{"msc4306", "msc3930", ""} {
		t.Run(offered, func(t *testing.T) {
			h, hs := newHomeserverHouse(t, func(c *Config) { c.OfferRules = offered })
			var first atomic.Pointer[string]
			first.Store(new(""))
			listing(hs, &first)
			h.setAll() // fails the test if it cannot
			if asked := len(hs.Hits("GET /_matrix/client/unstable/io.element.msc4308/")) > 0; asked != (offered == "msc4306") {
				t.Errorf("asked: %t", asked)
			}
		})
	}
}
