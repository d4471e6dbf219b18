package registry

import (
	"slices"
	"testing"

	"poked/events"
	"poked/events/eventstest"
)

// TestRejection sends rejections of alice's pusher through NATS.
func TestRejection(t *testing.T) {
	for _, c := range []struct {
		name   string
		since  keys // set after the poke, if any
		change func(*events.Rejection)
		goes   bool
	}{
		{"as it was poked", nil, func(*events.Rejection) {}, true},
		{"set again within the second", body(), func(*events.Rejection) {}, false},
		{"of another user", nil, func(r *events.Rejection) { r.UserID = bob }, false},
		{"of another app", nil, func(r *events.Rejection) { r.AppID = "other" }, false},
		{"of another pushkey", nil, func(r *events.Rejection) { r.Pushkey = "other" }, false},
		{"of an older pusher", nil, func(r *events.Rejection) { r.PushkeyTS-- }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.set("alice-phone", body())
			h.set("alice-phone", body(keys{"pushkey": "another"}))
			rejection := h.rejection()
			c.change(&rejection)
			if c.since != nil {
				h.set("alice-phone", c.since)
			}
			h.reject(rejection)
			h.runPast("alice-laptop")
			want := []string{"key", "another"}
			if c.goes {
				want = want[1:]
			}
			if got := h.pushkeys("alice-phone"); !slices.Equal(got, want) {
				t.Errorf("alice has %q, want %q", got, want)
			}
			if kept := h.count("removed_pushers WHERE reason = 'rejected by https://g.example:443'") == 1; kept != c.goes {
				t.Errorf("the reason is kept: %t", kept)
			}
		})
	}
}

// TestRejectionOfDeleted has a pusher deleted and set anew within the second
// before the rejection of the first arrives.
func TestRejectionOfDeleted(t *testing.T) {
	h := newHouse(t)
	h.set("alice-phone", body())
	rejection := h.rejection()
	h.set("alice-phone", body(keys{"kind": null}))
	h.set("alice-phone", body())
	h.reject(rejection)
	h.runPast("alice-laptop")
	if got := h.pushkeys("alice-phone"); len(got) != 1 {
		t.Errorf("alice has %q", got)
	}
}

// rejection returns that of alice's first pusher as it is now.
func (h *house) rejection() events.Rejection {
	p := h.database()[alice].Pushers[0]
	return events.Rejection{UserID: alice, AppID: p.AppID, Pushkey: p.Pushkey, PushkeyTS: p.PushkeyTS, Gateway: "https://g.example:443"}
}

func (h *house) reject(r events.Rejection) {
	h.t.Helper()
	stored := make(chan error, 1)
	h.conn.PublishRejection(r, func(err error) { stored <- err })
	if err := <-stored; err != nil {
		h.t.Fatal(err)
	}
}

// runPast runs the registry until everything that was published before has been
// worked on: a mark, a pusher of the token's user, goes last.
func (h *house) runPast(token string) {
	h.t.Helper()
	h.set(token, body(keys{"pushkey": "mark", "app_id": "mark"}))
	mark := h.rejection()
	set := h.database()[alice]
	last := set.Pushers[len(set.Pushers)-1]
	mark.AppID, mark.Pushkey, mark.PushkeyTS, mark.Gateway = last.AppID, last.Pushkey, last.PushkeyTS, ""
	h.reject(mark)
	h.run()
	eventstest.WaitFor(h.t, "the mark to go", func() bool { return !slices.Contains(h.pushkeys("alice-phone"), "mark") })
	h.waitSettled()
}

func TestAccountChanges(t *testing.T) {
	for _, c := range []struct {
		name    string
		publish func(*testing.T, *events.Publisher) error
		left    []string
	}{
		{"logout of a device", func(t *testing.T, p *events.Publisher) error { return p.Logout(t.Context(), alice, "PHONE") },
			[]string{"laptop", "nodevice"}},
		{"logout of all", func(t *testing.T, p *events.Publisher) error { return p.Logout(t.Context(), alice, "") }, []string{}},
		{"deactivation", func(t *testing.T, p *events.Publisher) error { return p.Deactivated(t.Context(), alice) }, []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			for _, device := range []string{"phone", "laptop", "nodevice"} {
				h.set("alice-"+device, body(keys{"pushkey": device}))
			}
			h.set("bob-phone", body(keys{"pushkey": "bob's"}))
			if err := c.publish(t, events.NewPublisher(h.conn)); err != nil {
				t.Fatal(err)
			}
			h.run()
			eventstest.WaitFor(t, "pushers to go", func() bool { return slices.Equal(h.pushkeys("alice-phone"), c.left) })
			if got := h.pushkeys("bob-phone"); !slices.Equal(got, []string{"bob's"}) {
				t.Errorf("bob has %q", got)
			}
			h.waitSettled()
		})
	}
}
