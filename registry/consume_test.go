package registry

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/publish"
)

// TestRejection publishes rejections of alice's pusher.
func TestRejection(t *testing.T) {
	for _, c := range []struct {
		name   string
		since  keys // set after the poke, if any
		change func(*events.Rejection)
		goes   bool
	}{
		{"as it was poked", nil, func(*events.Rejection) {}, true},
		{"set again within the second", body(), func(*events.Rejection) {}, false},
		{"gateway gone", nil, func(r *events.Rejection) { r.Reason = events.RejectedGone }, true},
		{"gateway gone, and set again", body(), func(r *events.Rejection) { r.Reason = events.RejectedGone }, false},
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
			reason := "rejected by https://g.example:443"
			if rejection.Reason == events.RejectedGone {
				reason = "gateway gone for long: https://g.example:443"
			}
			if kept := h.count("removed_pushers WHERE reason = '"+reason+"'") == 1; kept != c.goes {
				t.Errorf("the reason is kept: %t", kept)
			}
		})
	}
}

// TestRejectionOfDeleted deletes a pusher and sets it again within a second, before the
// rejection of the first one arrives.
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

// rejection returns a rejection of alice's first pusher as it is now.
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

// runPast runs the registry until it has processed everything that was published
// before: the last message removes a marker, a pusher of the token's user.
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
		publish func(*testing.T, *publish.Publisher) error
		left    []string
	}{
		{"logout of a device", func(t *testing.T, p *publish.Publisher) error { return p.Logout(t.Context(), alice, "PHONE") },
			[]string{"laptop", "nodevice"}},
		{"logout of all", func(t *testing.T, p *publish.Publisher) error { return p.Logout(t.Context(), alice, "") }, []string{}},
		{"deactivation", func(t *testing.T, p *publish.Publisher) error { return p.Deactivated(t.Context(), alice) }, []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			for _, device := range []string{"phone", "laptop", "nodevice"} {
				h.set("alice-"+device, body(keys{"pushkey": device}))
			}
			h.set("bob-phone", body(keys{"pushkey": "bob's"}))
			if err := c.publish(t, publish.NewPublisher(h.conn)); err != nil {
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

// A change of an account that cannot be applied is logged, counted and kept as a dead
// letter, under the subject on which it was published. It has no effect and does not
// stay in the queue, and the changes after it are applied.
func TestAccountChangesThatCannotBeRead(t *testing.T) {
	h := newHouse(t)
	h.set("alice-phone", body())
	h.set("bob-phone", body(keys{"pushkey": "another"}))
	its := func(user events.UserID, what string) string { return "account." + events.Token(user) + "." + what }
	user := func(user events.UserID) string { return `{"user_id":"` + string(user) + `"}` }
	rows := []struct{ subject, data, detail string }{
		{its(alice, "deactivated"), user(bob), "names another user"},
		{its(alice, "logout"), user(bob), "expected on " + its(bob, "logout")},
		{"account.*.logout", user(alice), "expected on " + its(alice, "logout")},
		{"account.>.deactivated", user(bob), "names another user"},
		{its(alice, "*"), user(alice), "no change of an account"},
		{its(alice, "renamed"), user(alice), "no change of an account"},
		{its(alice, "logout"), `{"user_id":"` + alice + `","user_id":"` + bob + `"}`, "occurs twice"},
		{its(alice, "logout"), `{"USER_ID":"` + alice + `"}`, "user_id must have"},
		{its(alice, "logout"), `{"user_id":"` + alice + `","device_id":7}`, "device_id"},
		{its(alice, "logout"), `{"user_id":"` + alice + `","device_id":"\ud800"}`, "half of a character"},
		{its(alice, "push_rules"), `{"user_id":"` + alice + `","content":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "nested"},
		{its(alice, "logout"), `{`, "not JSON"},
		{"rejected." + events.Token(events.UserID(alice)), `{"user_id":"` + bob + `","app_id":"app","pushkey":"key"}`, "names another user"},
	}
	for _, row := range rows {
		h.nats.Publish(row.subject, row.data)
	}
	h.accounts().check(h.accounts().p.Logout(t.Context(), bob, ""))
	h.run()
	eventstest.WaitFor(t, "dead letters", func() bool { return len(h.nats.Stored("DEAD", "")) >= len(rows) })
	eventstest.WaitFor(t, "bob's pusher to go", func() bool { return len(h.pushkeys("bob-phone")) == 0 })
	if got := h.pushkeys("alice-phone"); len(got) != 1 {
		t.Errorf("alice has %q", got)
	}
	letters := map[string]events.DeadLetter{}
	for _, msg := range h.nats.Stored("DEAD", "") {
		var letter events.DeadLetter
		if err := json.Unmarshal(msg.Data, &letter); err != nil {
			t.Fatal(err)
		}
		letters[letter.Subject+string(letter.Message)] = letter
	}
	for _, row := range rows {
		if letter := letters[row.subject+row.data]; letter.Reason != "bad_message" || !strings.Contains(letter.Detail, row.detail) {
			t.Errorf("%s %s: %q", row.subject, row.data, letter.Detail)
		}
	}
	eventstest.WaitFor(t, "empty queues", func() bool { return len(h.nats.Stored("ACCOUNTS", ""))+len(h.nats.Stored("REJECTED", "")) == 0 })
	if n := h.reg.conn.Unreadable(); n["ACCOUNTS"]+n["REJECTED"] != uint64(len(rows)) {
		t.Errorf("counted: %v", n)
	}
}
