package gateways_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/eventstest"
)

// told returns what pokes tell at a key of the notification object, by pushkey and in order: "-" if a
// poke has nothing there.
func told(pokes []eventstest.Poke, key string) map[string]string {
	all := map[string][]string{}
	for _, p := range pokes {
		value := gjson.GetBytes(p.Body, "notification."+strings.ReplaceAll(key, ".", `\.`))
		text := "-"
		if value.Exists() {
			text = value.Str
		}
		all[p.Pushkey] = append(all[p.Pushkey], text)
	}
	joined := map[string]string{}
	for pushkey, texts := range all {
		joined[pushkey] = strings.Join(texts, " ")
	}
	return joined
}

// wantTold compares what pokes tell.
func wantTold(t *testing.T, when string, got, want map[string]string) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] != want[key] {
			t.Errorf("%s: %.20s was told %q, want %q", when, key, got[key], want[key])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: told %d pushers, want %d", when, len(got), len(want))
	}
}

// dataWith is the data of a pusher with more members.
func dataWith(members string) []byte {
	return fmt.Appendf(nil, `{"url":"http://gw.test/_matrix/push/v1/notify",%s}`, members)
}

// A pusher that asks for it is told whose poke it is, with each event, each badge and each test push, at once
// and after a failure; one that does not ask is told what it was told before.
func TestUserIDIsInEachPokeOfAPusherThatAsks(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.WithVAPID()
		const ask = `"poked.user_id":true`
		browser, ids, silent := h.Gateway.Browser("gw.test", map[string]any{"poked.user_id": true}),
			h.Gateway.Browser("gw.test", map[string]any{"poked.user_id": true, "format": "event_id_only"}), h.Gateway.Browser("gw.test", nil)
		pushers := []events.Pusher{
			{Pushkey: "asks", Data: dataWith(ask)}, {Pushkey: "as well", Data: dataWith(ask)}, {Pushkey: "own", Data: dataWith(`"x":1,` + ask)},
			{Pushkey: "ids", Data: dataWith(`"format":"event_id_only",` + ask)}, browser, ids,
			{Pushkey: "usual"}, {Pushkey: "no", Data: dataWith(`"poked.user_id":false`)}, {Pushkey: "odd", Data: dataWith(`"poked.user_id":"@eve:x"`)},
			{Pushkey: "own usual", Data: dataWith(`"x":2`)}, silent,
		}
		h.RegisterAll("@bob:x", pushers...)
		h.RegisterAll("@carol:x", events.Pusher{Pushkey: "carol", Data: dataWith(ask)})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@carol:x")
		check := func(when string, times int) {
			t.Helper()
			pokes := h.Arrived(times * (len(pushers) + 1))
			want := map[string]string{"carol": strings.TrimSpace(strings.Repeat("@carol:x ", times))}
			for i, p := range pushers {
				tells := "-"
				if i < 6 {
					tells = "@bob:x"
				}
				want[p.Pushkey] = strings.TrimSpace(strings.Repeat(tells+" ", times))
			}
			wantTold(t, when, told(pokes, "poked.user_id"), want)
		}
		h.Say("!r", "@alice:x", 0, 1)
		check("event", 1)
		h.Receipt("!r", "@bob:x", "m.read", "$r-0", "")
		h.Receipt("!r", "@carol:x", "m.read", "$r-0", "")
		check("badge", 2)
		h.GatewayDown()
		h.Say("!r", "@alice:x", 1, 1)
		<-time.After(5 * time.Second)
		h.Kill()
		h.GatewayUp()
		h.Start()
		check("after a failure", 3)
		h.CaughtUp()
		before := len(h.Gateway.Pokes())
		result, err := h.Conn.TestPusher(t.Context(), events.TestPush{UserID: "@bob:x", Pusher: events.NewPusherID("@bob:x", "app", "asks"), EventID: "$test"})
		if err != nil || result.Status != events.TestOK {
			t.Fatal(result, err)
		}
		wantTold(t, "test push", told(h.Gateway.Pokes()[before:], "poked.user_id"), map[string]string{"asks": "@bob:x"})
	})
}

// A poke that is shortened to its ids keeps the id of its user.
func TestUserIDStaysInAShortenedPoke(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Config.PayloadLimit = []string{"http://gw.test=1024"}
		h.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob", Data: dataWith(`"poked.user_id":true`)})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.content("$odd", "m.room.message", map[string]any{"msgtype": "m.text", "x": strings.Repeat("x", 9000)})
		n := notificationOf(t, h.Arrived(1)[0])
		if n["poked.user_id"] != "@bob:x" || n["event_id"] != "$odd" || n["content"] != nil {
			t.Errorf("poked with %v", n)
		}
	})
}
