package pokes_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/webpush"
)

// content publishes a message with a content.
func (h *harness) content(id, kind string, content any) {
	h.T.Helper()
	raw, err := json.Marshal(map[string]any{
		"event_id": id, "room_id": "!r", "type": kind, "sender": "@alice:x", "origin_server_ts": time.Now().UnixMilli(), "content": content,
	})
	if err != nil {
		h.T.Fatal(err)
	}
	h.Publish(string(raw))
}

// notificationOf returns the notification object of a poke.
func notificationOf(t *testing.T, p eventstest.Poke) map[string]any {
	t.Helper()
	var body struct{ Notification map[string]any }
	if err := json.Unmarshal(p.Body, &body); err != nil {
		t.Fatal(err)
	}
	return body.Notification
}

// A browser gets the notification object that a gateway would, and the push service the headers of
// RFC 8030; a badge has no event, unless the client wants none.
func TestBrowserIsPoked(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		key := h.WithVAPID()
		plain := h.Gateway.Browser("gw.test", map[string]any{"brand": "x"})
		topics := h.Gateway.Browser("gw.test", map[string]any{"only_last_per_room": true, "events_only": true})
		h.RegisterAll("@bob:x", plain, topics, events.Pusher{Pushkey: "phone"})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@carol:x")
		h.Room("!other", "@alice:x", "@bob:x", "@carol:x")
		<-time.After(time.Second)
		before := len(h.Gateway.Pokes())
		h.Say("!r", "@alice:x", 0, 1)
		h.content("$loud", "m.room.message", map[string]any{"msgtype": "m.text", "body": "bob", "m.mentions": map[string]any{"user_ids": []string{"@bob:x"}}})
		h.Say("!other", "@alice:x", 0, 1)
		pokes := h.Arrived(before + 9)[before:]
		of := func(p events.Pusher) (list []eventstest.Poke) { // rooms have no order among them
			for _, event := range []events.EventID{"$r-0", "$loud", "$other-0"} {
				for _, poke := range pokes {
					if poke.Pushkey == p.Pushkey && poke.EventID == event {
						list = append(list, poke)
					}
				}
			}
			return list
		}
		phone, web, topical := of(events.Pusher{Pushkey: "phone"}), of(plain), of(topics)
		for i := range phone {
			want, got := notificationOf(t, phone[i]), notificationOf(t, web[i])
			delete(want, "devices")
			device := got["devices"].([]any)[0].(map[string]any)
			delete(got, "devices")
			if fmt.Sprint(want) != fmt.Sprint(got) {
				t.Errorf("the browser got %v, the gateway %v", got, want)
			}
			if data := device["data"].(map[string]any); len(data) != 1 || data["brand"] != "x" {
				t.Errorf("the browser's data is %v", data)
			}
		}
		for i, want := range []string{"normal", "high", "normal"} {
			if got := web[i].Push.Header.Get("Urgency"); got != want {
				t.Errorf("urgency %d is %q, want %q", i, got, want)
			}
		}
		head := web[0].Push.Header
		if ttl := head.Get("Ttl"); ttl < "86390" || ttl > "86400" || head.Get("Topic") != "" || head.Get("Content-Encoding") != "aes128gcm" ||
			!strings.HasPrefix(head.Get("Authorization"), "vapid t=") || !strings.HasSuffix(head.Get("Authorization"), ", k="+key.Public()) {
			t.Errorf("the headers are %v", head)
		}
		topic := func(i int) string { return topical[i].Push.Header.Get("Topic") }
		if len(topic(0)) != 32 || topic(0) != topic(1) || topic(0) == topic(2) || strings.Contains(topic(0), events.Token("!r")) {
			t.Errorf("the topics are %q, %q, %q", topic(0), topic(1), topic(2))
		}
		// Reading changes the badge. Only who wants it gets a poke for that.
		before = len(h.Gateway.Pokes())
		h.Receipt("!r", "@bob:x", "m.read", "$loud", "")
		h.Arrived(before + 2)
		<-time.After(5 * time.Second)
		badges := h.Gateway.Pokes()[before:]
		var keys []string
		for _, p := range badges {
			keys = append(keys, p.Pushkey)
			if p.EventID != "" || p.Unread != 1 || p.Push != nil && p.Push.Header.Get("Urgency") != "low" {
				t.Errorf("a badge is %s, %v", p.Body, p.Push)
			}
		}
		if want := []string{"phone", plain.Pushkey}; !slices.Equal(slices.Sorted(slices.Values(keys)), slices.Sorted(slices.Values(want))) {
			t.Errorf("badges went to %q", keys)
		}
	})
}

// What does not fit is left out in steps, so that every push service takes the rest.
func TestBrowserGetsWhatFits(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.WithVAPID()
		h.RegisterAll("@bob:x", h.Gateway.Browser("gw.test", nil))
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		long := strings.Repeat("wörd ", 2000)
		h.content("$plain", "m.room.message", map[string]any{"msgtype": "m.text", "body": "short"})
		h.content("$formatted", "m.room.message", map[string]any{"msgtype": "m.text", "body": "short", "format": "org.matrix.custom.html", "formatted_body": long})
		h.content("$body", "m.room.message", map[string]any{"msgtype": "m.text", "body": long, "formatted_body": long})
		h.content("$sealed", "m.room.encrypted", map[string]any{"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": long, "session_id": "s"})
		h.content("$odd", "m.room.message", map[string]any{"msgtype": "m.text", "body": "b", "x": long})
		for _, p := range h.Arrived(5) {
			content, _ := notificationOf(t, p)["content"].(map[string]any)
			if p.Push.Size > webpush.MaxBody {
				t.Errorf("%s has %d bytes", p.EventID, p.Push.Size)
			}
			body, _ := content["body"].(string)
			ok := true
			switch p.EventID {
			case "$plain":
				ok = body == "short"
			case "$formatted":
				ok = body == "short" && content["formatted_body"] == nil && content["format"] == nil && content["msgtype"] == "m.text"
			case "$body":
				ok = strings.HasPrefix(long, strings.TrimSuffix(body, "…")) && strings.HasSuffix(body, "…") && p.Push.Size > webpush.MaxBody-20
			case "$sealed":
				ok = content["ciphertext"] == nil && content["session_id"] == "s"
			case "$odd":
				ok = content == nil && p.RoomID == "!r" && notificationOf(t, p)["counts"] != nil
			}
			if !ok {
				t.Errorf("%s arrived as %s", p.EventID, p.Body)
			}
		}
	})
}

// What becomes of a poke that a push service does not take, by its status. Another browser at the
// same push service gets everything, and a third one elsewhere notices nothing.
func TestHostilePushService(t *testing.T) {
	for _, tc := range []struct {
		name      string
		reply     eventstest.Reply
		delivered bool // what came meanwhile arrives once it takes pokes again
		removed   bool
		state     events.GatewayPhase
		class     string // of the outcome
	}{
		{name: "200", reply: eventstest.Reply{Status: 200, Body: `{"rejected":["x"]}`}, delivered: true},
		{name: "201", reply: eventstest.Reply{Status: 201}, delivered: true},
		{name: "202", reply: eventstest.Reply{Status: 202}, delivered: true},
		{name: "204", reply: eventstest.Reply{Status: 204}, delivered: true},
		{name: "301", reply: eventstest.Reply{Status: 301, Header: http.Header{"Location": {"http://slow.test/x"}}}, delivered: true, class: "http_3xx"},
		{name: "400", reply: eventstest.Reply{Status: 400}, delivered: true, class: "http_4xx"},
		{name: "401", reply: eventstest.Reply{Status: 401}, delivered: true, class: "vapid_refused"},
		{name: "403", reply: eventstest.Reply{Status: 403}, removed: true, class: "vapid_refused"},
		{name: "404", reply: eventstest.Reply{Status: 404}, removed: true, class: "rejected"},
		{name: "408", reply: eventstest.Reply{Status: 408}, delivered: true, class: "http_4xx"},
		{name: "410", reply: eventstest.Reply{Status: 410}, removed: true, class: "rejected"},
		{name: "413", reply: eventstest.Reply{Status: 413}, delivered: true, class: "http_4xx"},
		{name: "414", reply: eventstest.Reply{Status: 414}, delivered: true, class: "http_4xx"},
		{name: "415", reply: eventstest.Reply{Status: 415}, delivered: true, class: "http_4xx"},
		{name: "429", reply: eventstest.Reply{Status: 429, Header: http.Header{"Retry-After": {"1800"}}}, delivered: true, state: events.GatewayPaused, class: "http_429"},
		{name: "429 without Retry-After", reply: eventstest.Reply{Status: 429}, delivered: true, class: "http_429"},
		{name: "500", reply: eventstest.Reply{Status: 500}, delivered: true, class: "http_5xx"},
		{name: "502", reply: eventstest.Reply{Status: 502}, delivered: true, class: "http_5xx"},
		{name: "503", reply: eventstest.Reply{Status: 503, Header: http.Header{"Retry-After": {"1800"}}}, delivered: true, state: events.GatewayPaused, class: "http_503"},
		{name: "503 without Retry-After", reply: eventstest.Reply{Status: 503}, delivered: true, class: "http_503"},
		{name: "504", reply: eventstest.Reply{Status: 504}, delivered: true, class: "http_5xx"},
		{name: "507", reply: eventstest.Reply{Status: 507}, delivered: true, class: "http_5xx"},
		{name: "hang up", reply: eventstest.Reply{HangUp: true}, delivered: true, class: "reset"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.SpanHours()
				h.WithVAPID()
				bad := h.Gateway.Browser("gw.test", nil)
				for i := range 3 {
					h.RegisterAll(events.UserID(fmt.Sprintf("@other%d:x", i)), h.Gateway.Browser("gw.test", nil))
				}
				h.RegisterAll("@elsewhere:x", h.Gateway.Browser("slow.test", nil))
				h.RegisterAll("@bob:x", bad)
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x", "@other0:x", "@other1:x", "@other2:x", "@elsewhere:x")
				h.Say("!r", "@alice:x", 0, 1)
				h.Arrived(5)
				h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
					if p.Pushkey == bad.Pushkey {
						return tc.reply
					}
					return eventstest.Reply{Status: 201}
				})
				elsewhere := func() int {
					return len(slices.DeleteFunc(h.Gateway.Pokes(), func(p eventstest.Poke) bool { return p.Host != "slow.test" }))
				}
				isRemoved := func() bool { return len(h.Server.Stored("REJECTED", "")) > 0 }
				for i := 0; i < 12 || tc.removed && i < 80 && !isRemoved(); i++ { // ten minutes, or three tries
					h.Say("!r", "@alice:x", 1+i, 1)
					<-time.After(time.Second)
					if got := elsewhere(); got != 2+i {
						t.Fatalf("the browser elsewhere got %d of %d", got, 2+i)
					}
					<-time.After(50 * time.Second)
				}
				tried := 0
				for _, p := range h.Gateway.Tried() {
					if p.Pushkey == bad.Pushkey {
						tried++
					}
				}
				removed := isRemoved()
				if removed != tc.removed {
					t.Errorf("the pusher is removed: %v, after %d tries", removed, tried)
				}
				for _, g := range h.Gateways() {
					if want := tc.state; g.Origin == "http://gw.test:80" && want != "" && g.State != want {
						t.Errorf("the gateway is %s, want %s", g.State, want)
					}
				}
				if tc.class != "" && !h.happened(tc.class) {
					t.Errorf("no try ended with class %s: %v", tc.class, h.Dispatcher.Health().Tries)
				}
				h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: 201}))
				for range poke.SlowLimit/time.Minute + 1 {
					if <-time.After(time.Minute); tc.removed || strings.HasSuffix(h.Delivered(bad.Pushkey), "r-12") {
						break
					}
				}
				h.Say("!r", "@alice:x", 100, 1)
				<-time.After(time.Minute)
				got := strings.Fields(h.Delivered(bad.Pushkey))
				if last := got[len(got)-1]; tc.delivered != (last == "r-100") {
					t.Errorf("after that it got %q", got)
				}
				if sorted := slices.Compact(slices.Clone(got)); len(sorted) != len(got) {
					t.Errorf("twice: %q", got)
				}
			})
		})
	}
}

// happened reports whether a try ended with an outcome of a class.
func (h *harness) happened(class string) bool {
	for _, tries := range h.Dispatcher.Health().Tries {
		if tries.Class.String() == class {
			return true
		}
	}
	return false
}

// A push service that refuses our key for all of its browsers: the fault may be ours, so it gets
// few requests, and no pusher is removed.
func TestPushServiceThatRefusesOurKeyRemovesNobody(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Server.Pulse = time.Minute // it takes hours
		h.WithVAPID()
		for i := range 5 {
			h.RegisterAll(events.UserID(fmt.Sprintf("@user%d:x", i)), h.Gateway.Browser("gw.test", nil))
		}
		h.Start()
		h.Room("!r", "@alice:x", "@user0:x", "@user1:x", "@user2:x", "@user3:x", "@user4:x")
		h.Say("!r", "@alice:x", 0, 1)
		h.Arrived(5)
		for _, status := range []int{403, 401} {
			h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: status}))
			before := len(h.Gateway.Tried())
			h.Say("!r", "@alice:x", status, 1)
			<-time.After(time.Hour)
			if n := len(h.Gateway.Tried()) - before; n > 200 {
				t.Errorf("%d: %d requests in an hour", status, n)
			}
			if !slices.ContainsFunc(h.Gateways(), func(g events.GatewayState) bool {
				return g.Origin == "http://gw.test:80" && g.State == events.GatewayOpen && g.LastError == "vapid_refused"
			}) {
				t.Errorf("%d: the gateways are %+v", status, h.Gateways())
			}
			h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: 201}))
			<-time.After(time.Hour)
		}
		if n := len(h.Server.Stored("REJECTED", "")); n != 0 {
			t.Errorf("%d pushers are removed", n)
		}
		if got := len(h.Gateway.Pokes()); got != 15 {
			t.Errorf("%d pokes arrived, want 15", got)
		}
	})
}

// A push service that has no room for what waits for a browser (507 of ntfy) works: all of its
// browsers may be away.
func TestPushServiceWithoutRoomIsNotDown(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.WithVAPID()
		for i := range 5 {
			h.RegisterAll(events.UserID(fmt.Sprintf("@user%d:x", i)), h.Gateway.Browser("gw.test", nil))
		}
		h.Start()
		h.Room("!r", "@alice:x", "@user0:x", "@user1:x", "@user2:x", "@user3:x", "@user4:x")
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: http.StatusInsufficientStorage}))
		h.Say("!r", "@alice:x", 0, 2)
		<-time.After(10 * time.Minute)
		for _, g := range h.Gateways() {
			if g.State != events.GatewayClosed || g.ErrorRate > 0 {
				t.Errorf("the gateway is %+v", g)
			}
		}
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: 201}))
		<-time.After(poke.SlowLimit)
		if n := len(h.Gateway.Pokes()); n != 10 {
			t.Errorf("%d pokes arrived, want 10", n)
		}
	})
}

// 413: each try has less in it, down to the ids, and then the poke is a refused one like any other.
func TestPushServiceWithASmallLimit(t *testing.T) {
	for _, limit := range []int{3000, 1200, 700} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.WithVAPID()
				h.RegisterAll("@bob:x", h.Gateway.Browser("gw.test", nil))
				h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
					if p.Push.Size > limit {
						return eventstest.Reply{Status: 413}
					}
					return eventstest.Reply{Status: 201}
				})
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				h.content("$long", "m.room.message", map[string]any{"msgtype": "m.text", "body": strings.Repeat("x", 9000)})
				h.content("$next", "m.room.message", map[string]any{"msgtype": "m.text", "body": "y"})
				eventstest.WaitFor(t, "both pokes", func() bool {
					return len(h.Gateway.Pokes()) > 0 && strings.HasSuffix(h.Delivered(h.Gateway.Pokes()[0].Pushkey), "long next")
				})
				if n := len(h.Gateway.Tried()); n > 9 {
					t.Errorf("%d requests", n)
				}
				content, _ := notificationOf(t, h.Gateway.Pokes()[0])["content"].(map[string]any)
				if body, _ := content["body"].(string); limit == 3000 && len(body) < 1000 {
					t.Errorf("of the body arrived %q", body)
				}
			})
		})
	}
}

// Without the key nothing is lost: browsers are poked once it is there.
func TestBrowsersWaitForTheKey(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.RegisterAll("@bob:x", h.Gateway.Browser("gw.test", nil), events.Pusher{Pushkey: "phone"})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 2)
		<-time.After(time.Minute)
		if got := h.Gateway.Tried(); !slices.ContainsFunc(got, func(p eventstest.Poke) bool { return p.Pushkey == "phone" }) ||
			slices.ContainsFunc(got, func(p eventstest.Poke) bool { return p.Push != nil }) {
			t.Errorf("without a key %d requests", len(got))
		}
		h.WithVAPID()
		<-time.After(poke.QuickLimit)
		if got := h.Gateway.Pokes(); !slices.ContainsFunc(got, func(p eventstest.Poke) bool { return p.Push != nil && p.EventID == "$r-1" }) {
			t.Errorf("with the key the browser still gets nothing")
		}
	})
}

// A push service that hangs delays its own browsers alone.
func TestG4HangingPushServiceDelaysOnlyItself(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.WithVAPID()
		users := []events.UserID{"@alice:x"}
		for i := range 40 {
			users = append(users, events.UserID(fmt.Sprintf("@slow%d:x", i)), events.UserID(fmt.Sprintf("@fast%d:x", i)))
			h.RegisterAll(users[2*i+1], h.Gateway.Browser("slow.test", nil))
			h.RegisterAll(users[2*i+2], h.Gateway.Browser("gw.test", nil), events.Pusher{Pushkey: "phone"})
		}
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{Status: http.StatusCreated, After: time.Minute}
			}
			return eventstest.Reply{Status: http.StatusCreated}
		})
		h.Start()
		h.Room("!r", users...)
		for i := range 20 {
			h.Say("!r", "@alice:x", i, 1)
			<-time.After(time.Second)
			fast := slices.DeleteFunc(h.Gateway.Pokes(), func(p eventstest.Poke) bool { return p.Host != "gw.test" })
			if len(fast) != 80*(i+1) {
				t.Fatalf("%d of %d pokes have arrived where all works", len(fast), 80*(i+1))
			}
		}
	})
}

// Two browsers of the same push service share a signature.
func TestBrowsersShareASignature(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Server.Pulse = time.Minute // it takes hours
		h.WithVAPID()
		h.RegisterAll("@bob:x", h.Gateway.Browser("gw.test", nil), h.Gateway.Browser("gw.test", nil))
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 1)
		h.Arrived(2)
		<-time.After(7 * time.Hour)
		h.Say("!r", "@alice:x", 1, 1)
		h.Arrived(4)
		headers := map[string]int{}
		for _, p := range h.Gateway.Pokes() {
			headers[p.Push.Header.Get("Authorization")]++
		}
		if len(headers) != 2 {
			t.Errorf("%d signatures for an hour and one seven hours later", len(headers))
		}
	})
}
