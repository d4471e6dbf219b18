package directory

import (
	"encoding/json"
	"log/slog"
	"testing"

	"poked/events"
	"poked/events/pushgateway"
	"poked/events/webpush/webpushtest"
)

// A browser is known with its keys, whatever others of its app have; one that cannot be pushed to is
// refused, and its user's other pushers are not.
func TestBrowsers(t *testing.T) {
	policy, err := pushgateway.NewPolicy([]string{"push.test"}, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	d := New(policy, slog.New(slog.DiscardHandler), 2, func(events.UserID) {})
	browser, err := webpushtest.New()
	if err != nil {
		t.Fatal(err)
	}
	pusher := func(pushkey string, data map[string]any) events.Pusher {
		raw, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		return events.Pusher{AppID: "app", Kind: events.KindWebPushUnstable, Pushkey: pushkey, Data: raw}
	}
	good := map[string]any{"url": "http://push.test/any/path", "auth": browser.Auth(), "x": 1, "only_last_per_room": true, "format": "event_id_only"}
	inactive := pusher(browser.Pushkey(), good)
	inactive.Inactive = true
	d.Apply(events.UserPushers{UserID: "@a:x", Revision: 1, Pushers: []events.Pusher{
		pusher(browser.Pushkey(), good),
		pusher(browser.Pushkey(), map[string]any{"url": "http://push.test/2", "auth": browser.Auth(), "events_only": true, "disable_badge_count": true}),
		pusher("no key", good),
		pusher(browser.Pushkey(), map[string]any{"url": "http://elsewhere.test/", "auth": browser.Auth()}),
		pusher(browser.Pushkey(), map[string]any{"url": "http://push.test/"}),
		inactive,
	}})
	got := d.Pushers("@a:x")
	if len(got) != 5 {
		t.Fatalf("%d pushers, want all but the inactive one", len(got))
	}
	first, second := got[0], got[1]
	if first.URL.String() != "http://push.test/any/path" || first.Web == nil || !first.Web.LastPerRoom || first.Web.EventsOnly || !first.EventOnly ||
		string(first.Data) != `{"format":"event_id_only","only_last_per_room":true,"x":1}` {
		t.Errorf("the first is %+v, %s", first, first.Data)
	}
	if second.URL.String() != "http://push.test/2" || second.Web == nil || second.Web.LastPerRoom || !second.Web.EventsOnly || !second.NoBadge {
		t.Errorf("the second is %+v", second)
	}
	for _, p := range got[2:] {
		if p.Refused == nil || p.URL != nil || p.Web != nil || p.Origin() != RefusedOrigin {
			t.Errorf("not refused: %+v", p)
		}
	}
	if first.Same(second) || first.Origin() != "http://push.test:80" {
		t.Errorf("the first is of %s", first.Origin())
	}
}
