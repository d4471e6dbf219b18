package trace_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/dispatcher/trace"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/pushrule"
)

func TestMain(m *testing.M) {
	natstest.Prepare()
	m.Run()
}

// For each reason why a phone may stay silent a trace tells it (G16).
func TestG16WhyItDidNotRing(t *testing.T) {
	eventstest.Long(t)
	for name, silence := range dispatchertest.Silences() {
		t.Run(name, func(t *testing.T) {
			dispatchertest.Bubble(t, func(t *testing.T, h *dispatchertest.Harness) {
				silence.Prepare(h)
				for _, room := range []events.RoomID{"!r", ""} {
					got, err := trace.Run(t.Context(), h.Conn, trace.Query{Event: "$m", Room: room, User: "@bob:x"})
					if err != nil {
						t.Fatal(err)
					}
					compare(t, &silence, got)
				}
			})
		})
	}
}

func compare(t *testing.T, want *dispatchertest.Silence, got *trace.Trace) {
	t.Helper()
	if len(got.Users) != 1 || len(got.Users[0].Pushers) != 1 {
		t.Fatalf("trace is %+v", got)
	}
	u := &got.Users[0]
	p := &u.Pushers[0]
	said := got.Because() + "\n" + u.Because() + "\n" + p.Because(got, u, time.Now())
	if u.Notified != want.Notified || u.Suppressed != want.Why || p.Fate != want.Fate || !strings.Contains(said, want.Text) {
		t.Errorf("notified %t, suppressed %q, fate %q, want %t %q %q and %q:\n%s\n%+v", u.Notified, u.Suppressed, p.Fate, want.Notified, want.Why, want.Fate, want.Text, said, *p)
	}
}

// A rule of a proposal is named where it decided, if the operator offers it.
func TestG16OfferedRules(t *testing.T) {
	dispatchertest.Bubble(t, func(t *testing.T, h *dispatchertest.Harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Publish(`{"event_id":"$m","room_id":"!r","type":"org.matrix.msc3381.poll.start","sender":"@alice:x","content":{}}`)
		for offers, rule := range map[pushrule.Offers]string{0: "", pushrule.MSC3930: ".org.matrix.msc3930.rule.poll_start_one_to_one"} {
			if err := h.Conn.PutOfferedRules(t.Context(), offers); err != nil {
				t.Fatal(err)
			}
			got, err := trace.Run(t.Context(), h.Conn, trace.Query{Event: "$m", Room: "!r", User: "@bob:x"})
			if err != nil || len(got.Users) != 1 {
				t.Fatalf("%+v, %v", got, err)
			}
			u, by := &got.Users[0], ""
			if u.Rule != nil {
				by = u.Rule.RuleID
			}
			if u.Notified != (offers != 0) || by != rule {
				t.Errorf("offering %v: notified %t by %q, want %q", offers.Names(), u.Notified, by, rule)
			}
		}
	})
}

// The rules of thread subscriptions are named where they decided, by the subscriptions at the event.
func TestG16ThreadSubscriptions(t *testing.T) {
	dispatchertest.Bubble(t, func(t *testing.T, h *dispatchertest.Harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@carol:x", "gw.test", "carol")
		h.Start()
		if err := h.Conn.PutOfferedRules(t.Context(), pushrule.MSC4306); err != nil {
			t.Fatal(err)
		}
		h.Noticed()
		h.Room("!r", "@alice:x", "@bob:x", "@carol:x")
		h.Subscribe("!r", "$root", "@bob:x", true)
		h.Publish(`{"event_id":"$m","room_id":"!r","type":"m.room.message","sender":"@alice:x","content":{"body":"x","m.relates_to":{"rel_type":"m.thread","event_id":"$root"}}}`)
		h.Subscribe("!r", "$root", "@bob:x", false)
		h.Subscribe("!r", "$root", "@carol:x", true)
		h.Arrived(1)
		<-time.After(time.Minute)
		got, err := trace.Run(t.Context(), h.Conn, trace.Query{Event: "$m", Room: "!r"})
		if err != nil || len(got.Users) != 2 {
			t.Fatalf("%+v, %v", got, err)
		}
		for i, want := range []string{".io.element.msc4306.rule.subscribed_thread", ".io.element.msc4306.rule.unsubscribed_thread"} {
			if u := &got.Users[i]; u.Rule == nil || u.Rule.RuleID != want || u.Notified != (u.UserID == "@bob:x") {
				t.Errorf("%s: notified %t by %+v, want %s", u.UserID, u.Notified, u.Rule, want)
			}
		}
	})
}

// An event that was never published is not found.
func TestG16NeverPublished(t *testing.T) {
	dispatchertest.Bubble(t, func(t *testing.T, h *dispatchertest.Harness) {
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		for _, room := range []events.RoomID{"!r", ""} {
			if _, err := trace.Run(t.Context(), h.Conn, trace.Query{Event: "$m", Room: room}); !errors.Is(err, trace.ErrNotFound) {
				t.Errorf("in room %q: %v", room, err)
			}
		}
	})
}

// The push rules of then decide, not those of now, while they are kept; if they are not, the trace
// says so.
func TestG16RulesAsOfTheEvent(t *testing.T) {
	dispatchertest.Bubble(t, func(t *testing.T, h *dispatchertest.Harness) {
		h.Start()
		h.Register("@bob:x", "gw.test", "bob")
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 1)
		h.Arrived(1)
		<-time.After(time.Second)
		h.Version = 0 // the first of bob's rules
		h.Rules("@bob:x", events.UserPushRules{Changes: dispatchertest.Master()})
		<-time.After(time.Second)
		h.Say("!r", "@alice:x", 1, 1)
		<-time.After(time.Minute)
		h.Rules("@bob:x", events.UserPushRules{IgnoredUsers: []events.UserID{"@carol:x"}})
		want := func(event events.EventID, notified, changed bool) {
			t.Helper()
			got, err := trace.Run(t.Context(), h.Conn, trace.Query{Event: event, Room: "!r", User: "@bob:x"})
			if err != nil || len(got.Users) != 1 {
				t.Fatalf("%+v, %v", got, err)
			}
			if u := &got.Users[0]; u.Notified != notified || u.RulesChanged.IsZero() == changed {
				t.Errorf("%s: notified %t, rules changed %v; want %t, %t", event, u.Notified, u.RulesChanged, notified, changed)
			}
		}
		want("$r-0", true, false)
		want("$r-1", false, false)
		for range 10 {
			h.Rules("@bob:x", events.UserPushRules{IgnoredUsers: []events.UserID{"@carol:x"}, Changes: dispatchertest.Master()})
		}
		want("$r-1", false, true)
	})
}
