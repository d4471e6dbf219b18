package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
)

const room = events.RoomID("!room:example.org")

// messageEvent returns a message as its homeserver publishes it.
func messageEvent(id string) string {
	return `{"event_id":"` + id + `","room_id":"` + string(room) + `","type":"m.room.message","sender":"@carol:example.org",` +
		`"content":{"body":"hi <&>"},"origin_server_ts":1234,"unsigned":{"age":1}}`
}

// publish stores an event in ROOMS and returns its sequence there.
func (h *house) publish(event string) uint64 {
	h.t.Helper()
	ev, err := events.ParseRoomEvent([]byte(event))
	if err != nil {
		h.t.Fatal(err)
	}
	h.nats.Publish(ev.Subject(), event)
	stored := h.nats.Stored("ROOMS", "")
	return stored[len(stored)-1].Seq
}

// notify stores the notification of a user of the event at a sequence of ROOMS, as a
// dispatcher does.
func (h *house) notify(user events.UserID, id string, seq uint64, change ...func(*events.Notification)) {
	h.t.Helper()
	n := events.Notification{
		About: events.About{EventID: events.EventID(id), RoomSeq: seq, At: time.UnixMilli(5000), SentAt: 1234}, RuleID: ".m.rule.message", Tweaks: []byte(`{}`),
		Body: []byte(`{"prio":"low","event_id":"` + id + `","room_id":"` + string(room) +
			`","type":"m.room.message","sender":"@carol:example.org","content":{"body":"kept"}}`),
	}
	for _, c := range change {
		c(&n)
	}
	h.owners.notify(user, n)
}

// notified requests a page, and returns it with its event ids.
func (h *house) notified(token, query string) (page listedNotifications, ids string) {
	h.t.Helper()
	status, _, answer := h.request(http.MethodGet, prefixV3+"/notifications"+query, token, "")
	if err := json.Unmarshal(answer, &page); err != nil || status != http.StatusOK {
		h.t.Fatalf("%s: %d %s", query, status, answer)
	}
	for _, n := range page.Notifications {
		var event struct {
			ID string `json:"event_id"`
		}
		if err := json.Unmarshal(n.Event, &event); err != nil {
			h.t.Fatal(err)
		}
		ids += event.ID
	}
	return page, ids
}

func highlighted(n *events.Notification) {
	n.Highlight, n.Tweaks = true, []byte(`{"sound":"default","highlight":true,"org.x":{"a":[1]}}`)
}

// TestNotifications compares whole answers.
func TestNotifications(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	doc := openAPI(t)
	for _, c := range []struct {
		name, published string
		change          func(*events.Notification)
		want            string
	}{
		{"as published", messageEvent("$a"), func(*events.Notification) {},
			`{"actions":["notify"],"event":` + messageEvent("$a") + `,"read":false,"room_id":"!room:example.org","ts":5000}`},
		{"tweaks", messageEvent("$a"), highlighted,
			`{"actions":["notify",{"set_tweak":"sound","value":"default"},{"set_tweak":"highlight"},{"set_tweak":"org.x","value":{"a":[1]}}],` +
				`"event":` + messageEvent("$a") + `,"read":false,"room_id":"!room:example.org","ts":5000}`},
		{"gone", "", func(*events.Notification) {},
			`{"actions":["notify"],"event":{"content":{"body":"kept"},"event_id":"$a","origin_server_ts":1234,"room_id":"!room:example.org",` +
				`"sender":"@carol:example.org","type":"m.room.message"},"read":false,"room_id":"!room:example.org","ts":5000}`},
		{"another in its place", messageEvent("$b"), func(n *events.Notification) { n.SentAt = 0 },
			`{"actions":["notify"],"event":{"content":{"body":"kept"},"event_id":"$a","origin_server_ts":5000,"room_id":"!room:example.org",` +
				`"sender":"@carol:example.org","type":"m.room.message"},"read":false,"room_id":"!room:example.org","ts":5000}`},
		{"an invitation that is gone", "", func(n *events.Notification) {
			n.Body = []byte(`{"prio":"low","user_is_target":true,"type":"m.room.member","sender":"@c:x","membership":"invite","content":{"membership":"invite"}}`)
		}, `{"actions":["notify"],"event":{"content":{"membership":"invite"},"event_id":"$a","origin_server_ts":1234,"room_id":"!room:example.org",` +
			`"sender":"@c:x","state_key":"@alice:example.org","type":"m.room.member"},"read":false,"room_id":"!room:example.org","ts":5000}`},
		{"for one device", "", func(n *events.Notification) {
			n.Silent = true
			n.Devices = map[string]events.DeviceOutcome{"a": {Tweaks: []byte(`{}`)}, "b": {Notify: true, Tweaks: []byte(`{}`)}, "c": {Notify: true, Tweaks: []byte(`{}`)}}
		}, `{"actions":["notify"],"event":{"content":{"body":"kept"},"event_id":"$a","origin_server_ts":1234,"room_id":"!room:example.org",` +
			`"sender":"@carol:example.org","type":"m.room.message"},"profile_tag":"b","read":false,"room_id":"!room:example.org","ts":5000}`},
	} {
		seq := uint64(1e6)
		if c.published != "" {
			seq = h.publish(c.published)
		}
		h.notify(alice, "$a", seq, c.change)
		_, _, answer := h.request(http.MethodGet, prefixV3+"/notifications?limit=1", "alice-phone", "")
		var page struct{ Notifications []json.RawMessage }
		if err := json.Unmarshal(answer, &page); err != nil || len(page.Notifications) != 1 || !sameJSON(t, page.Notifications[0], []byte(c.want)) {
			t.Errorf("%s: %s, want %s", c.name, answer, c.want)
		}
		checkShape(t, doc, "Notifications", answer)
	}
}

// TestNotificationPages reads page after page under every prefix. G10: another user
// sees none of it.
func TestNotificationPages(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	if _, _, answer := h.request(http.MethodGet, prefixV3+"/notifications", "alice-phone", ""); string(answer) != "{\"notifications\":[]}\n" {
		t.Errorf("without notifications: %s", answer)
	}
	for i := range 25 {
		var change []func(*events.Notification)
		if i%10 == 0 {
			change = append(change, highlighted)
		}
		h.notify(alice, fmt.Sprintf("$%c", 'a'+i), uint64(i)+1, change...)
	}
	h.notify(bob, "$bob", 1)
	for _, c := range []struct{ query, want string }{
		{"", "$y$x$w$v$u$t$s$r$q$p$o$n$m$l$k$j$i$h$g$f | $e$d$c$b$a"},
		{"?limit=24", "$y$x$w$v$u$t$s$r$q$p$o$n$m$l$k$j$i$h$g$f$e$d$c$b | $a"},
		{"?limit=25", "$y$x$w$v$u$t$s$r$q$p$o$n$m$l$k$j$i$h$g$f$e$d$c$b$a"},
		{"?limit=9999999999999999999999", "$y$x$w$v$u$t$s$r$q$p$o$n$m$l$k$j$i$h$g$f$e$d$c$b$a"},
		{"?only=highlight", "$u$k$a"},
		{"?only=highlight&limit=2", "$u$k | $a"},
		{"?only=highlight&limit=1&from=", "$u | $k | $a"},
	} {
		page, got := h.notified("alice-phone", c.query)
		for page.NextToken != "" {
			var ids string
			page, ids = h.notified("alice-laptop", "?from="+page.NextToken+"&"+strings.TrimPrefix(c.query, "?"))
			got += " | " + ids
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.query, got, c.want)
		}
	}
	if page, ids := h.notified("bob-phone", ""); ids != "$bob" || page.NextToken != "" {
		t.Errorf("bob sees %s", ids)
	}
	for _, prefix := range []string{prefixR0, prefixOriginal} {
		if status, _, answer := h.request(http.MethodGet, prefix+"/notifications?limit=1", "bob-phone", ""); status != http.StatusOK || !strings.Contains(string(answer), "$bob") {
			t.Errorf("%s: %d %s", prefix, status, answer)
		}
	}
	if status, e := h.change(http.MethodGet, prefixV3+"/notifications", "", ""); status != http.StatusUnauthorized || e.Errcode != "M_MISSING_TOKEN" {
		t.Errorf("without a token: %d %+v", status, e)
	}
}

func TestNotificationsBadQuery(t *testing.T) {
	h := newHouse(t)
	for query, key := range map[string]string{
		"from=x": "from", "from=0": "from", "from=-1": "from", "from=99999999999999999999": "from", "from=1.5": "from",
		"limit=0": "limit", "limit=-5": "limit", "limit=x": "limit", "limit=1.5": "limit", "limit=-99999999999999999999": "limit",
		"only=all": "only", "only=Highlight": "only",
		"from=x&limit=x&only=x": "only",
	} {
		status, e := h.change(http.MethodGet, prefixV3+"/notifications?"+query, "alice-phone", "")
		if status != http.StatusBadRequest || e.Errcode != "M_INVALID_PARAM" || !strings.Contains(e.Error, key+" must") {
			t.Errorf("%s: %d %+v, want M_INVALID_PARAM that names %s", query, status, e, key)
		}
	}
}

// TestNotificationsInOneAnswer uses events so long that not all of them fit into one
// answer.
func TestNotificationsInOneAnswer(t *testing.T) {
	h := newHouse(t)
	long := strings.Replace(messageEvent("$a"), "hi", strings.Repeat("x", 200<<10), 1)
	for range 12 {
		h.notify(alice, "$a", h.publish(long))
	}
	page, ids := h.notified("alice-phone", "?limit=12")
	if ids != strings.Repeat("$a", 6) || page.NextToken == "" {
		t.Errorf("%s, next_token %q", ids, page.NextToken)
	}
	if page, ids := h.notified("alice-phone", "?limit=12&from="+page.NextToken); ids != strings.Repeat("$a", 6) || page.NextToken != "" {
		t.Errorf("%s, next_token %q", ids, page.NextToken)
	}
}

// TestNotificationsWithoutNATS stops NATS or the dispatcher before an answer, and in the middle of one:
// the client gets 503 with Retry-After, and an answer once NATS is back.
func TestNotificationsWithoutNATS(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.close()
	link := h.overLink()
	h.notify(alice, "$a", h.publish(messageEvent("$a")))
	refused := func(what string) {
		t.Helper()
		status, header, answer := h.request(http.MethodGet, prefixV3+"/notifications", "alice-phone", "")
		var e errorBody
		if err := json.Unmarshal(answer, &e); err != nil || status != http.StatusServiceUnavailable || e.Errcode != "M_UNKNOWN" {
			t.Errorf("%s: %d %s", what, status, answer)
		}
		if header.Get("Retry-After") != "1" || e.RetryAfterMS != 1000 {
			t.Errorf("%s: Retry-After %q, retry_after_ms %d", what, header.Get("Retry-After"), e.RetryAfterMS)
		}
		checkShape(t, openAPI(t), "Error", answer)
	}
	answered := func() bool {
		status, _, _ := h.request(http.MethodGet, prefixV3+"/notifications", "alice-phone", "")
		return status == http.StatusOK
	}
	met := link.Break("$JS.API.DIRECT.GET.ROOMS", natstest.Refuse)
	refused("an event is not read")
	if !met() {
		t.Error("ROOMS was not asked")
	}
	if !answered() {
		t.Error("no answer after ROOMS refused one")
	}
	h.owners.stop()
	refused("no dispatcher answers")
	h.owners.start()
	if !answered() {
		t.Error("no answer although a dispatcher answers again")
	}
	link.Part()
	refused("away")
	if status, _, _ := h.request(http.MethodGet, prefixV3+"/pushers", "alice-phone", ""); status != http.StatusOK {
		t.Errorf("pushers without NATS: %d", status)
	}
	link.Mend()
	eventstest.WaitFor(t, "an answer", answered)
	if log := h.log.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "status=503") || !strings.Contains(log, "list notifications") {
		t.Errorf("the log lacks the cause:\n%s", log)
	}
}
