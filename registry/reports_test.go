package registry

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/eventstest"
)

const (
	reportRoom = "/rooms/%21r%3Ax"
	main       = `"thread_id":"main"`
)

// reportRows are requests of alice, and the content that is published because of each, "" if
// nothing is.
func reportRows() map[string]struct{ method, path, body, want string } {
	const marks = "/user/" + alice + reportRoom + "/account_data/"
	receipt := func(event, kind, data string) string {
		return `{"` + event + `":{"` + kind + `":{"` + alice + `":{` + data + `}}}}`
	}
	return map[string]struct{ method, path, body, want string }{
		"m.read":              {"POST", "/receipt/m.read/%241", `{}`, receipt("$1", "m.read", ``)},
		"without a body":      {"POST", "/receipt/m.read/%241", ``, receipt("$1", "m.read", ``)},
		"escaped slash":       {"POST", "/receipt/m.read/%24a%2Fb+c", `{}`, receipt("$a/b+c", "m.read", ``)},
		"m.read.private":      {"POST", "/receipt/m.read.private/%241", `{}`, receipt("$1", "m.read.private", ``)},
		"main timeline":       {"POST", "/receipt/m.read/%241", `{` + main + `}`, receipt("$1", "m.read", main)},
		"a thread":            {"POST", "/receipt/m.read/%241", `{"thread_id":"$t"}`, receipt("$1", "m.read", `"thread_id":"$t"`)},
		"m.fully_read":        {"POST", "/receipt/m.fully_read/%241", `{}`, ""},
		"another kind":        {"POST", "/receipt/org.example/%241", `{}`, ""},
		"an id too long":      {"POST", "/receipt/m.read/%24" + strings.Repeat("x", 255), `{}`, ""},
		"another method":      {"GET", "/receipt/m.read/%241", ``, ""},
		"read markers":        {"POST", "/read_markers", `{"m.fully_read":"$1","m.read":"$1"}`, receipt("$1", "m.read", ``)},
		"private marker":      {"POST", "/read_markers", `{"m.fully_read":"$1","m.read.private":"$2"}`, receipt("$2", "m.read.private", ``)},
		"fully read alone":    {"POST", "/read_markers", `{"m.fully_read":"$1"}`, ""},
		"markers of no shape": {"POST", "/read_markers", `{"m.read":1,"m.read.private":null}`, ""},
		"redaction":           {"PUT", "/redact/%241/txn", `{"reason":"spam"}`, `{"reason":"spam","redacts":"$1"}`},
		"without a reason":    {"PUT", "/redact/%241/txn", ``, `{"redacts":"$1"}`},
		"marked as unread":    {"PUT", marks + "m.marked_unread", `{"unread":true}`, `{"` + alice + `":{"unread":true}}`},
		"not any more":        {"PUT", marks + "m.marked_unread", `{"unread":false}`, `{"` + alice + `":{"unread":false}}`},
		"a mark without":      {"PUT", marks + "com.famedly.marked_unread", `{}`, `{"` + alice + `":{"unread":false}}`},
		"by its first name":   {"PUT", marks + "com.famedly.marked_unread", `{"unread":true}`, `{"` + alice + `":{"unread":true}}`},
		"other account data":  {"PUT", marks + "m.fully_read", `{"unread":true}`, ""},
		"a mark of another":   {"PUT", strings.Replace(marks, alice, bob, 1) + "m.marked_unread", `{"unread":true}`, ""},
		"for another user":    {"POST", "/receipt/m.read/%241?user_id=%40bob%3Aexample.org", `{}`, ""},
	}
}

// What clients send by way of poked is published once the homeserver has accepted it.
func TestReceiptsAndRedactionsArePublished(t *testing.T) {
	eventstest.Long(t)
	h, _ := newHomeserverHouse(t)
	seen, txn := 0, 0
	for name, row := range reportRows() {
		for _, prefix := range []string{prefixV3, prefixR0} {
			txn++
			path := strings.ReplaceAll(row.path, "txn", fmt.Sprint(txn))
			if !strings.HasPrefix(path, "/user/") {
				path = reportRoom + path
			}
			status, _, _ := h.request(row.method, prefix+path, "alice-phone", row.body)
			if right := row.method != "GET"; (status == 200) != right {
				t.Errorf("%s: answered %d", name, status)
			}
			published := h.nats.Stored("ROOMS", "")[seen:]
			seen += len(published)
			switch {
			case len(published) > 1, len(published) == 0 && row.want != "", len(published) == 1 && row.want == "":
				t.Errorf("%s: published %d messages", name, len(published))
			case row.want != "":
				checkReport(t, name, published[0].Data, row.want, fmt.Sprint(txn))
			}
		}
	}
}

// Who is subscribed to a thread is published once the homeserver has said so: not if it refuses an automatic
// subscription, since the user has unsubscribed after its cause (MSC4306).
func TestThreadSubscriptionsArePublished(t *testing.T) {
	h, hs := newHomeserverHouse(t)
	const path = prefixThreads + reportRoom + "/thread/%24t%2Fu/subscription"
	send := func(method, token, query, body string, want int, published string) {
		t.Helper()
		before := len(h.nats.Stored("ROOMS", ""))
		if status, _, answer := h.request(method, path+query, token, body); status != want {
			t.Errorf("%s: %d %s, want %d", method, status, answer, want)
		}
		var got []string
		for _, msg := range h.nats.Stored("ROOMS", "")[before:] {
			sub, err := events.ParsePublishedThreadSubscription(events.PublishedAs(msg.Subject), msg.Data)
			got = append(got, fmt.Sprint(sub.RoomID, sub.Thread, sub.UserID, sub.Subscribed, err))
		}
		if all := strings.Join(got, " "); all != published {
			t.Errorf("%s%s %s: published %q, want %q", method, query, body, all, published)
		}
	}
	subscribed := fmt.Sprint(events.RoomID("!r:x"), events.EventID("$t/u"), alice, true, nil)
	send(http.MethodPut, "alice-phone", "", `{"automatic":"$cause"}`, http.StatusOK, subscribed)
	send(http.MethodDelete, "alice-phone", "", "", http.StatusOK, strings.Replace(subscribed, "true", "false", 1))
	send(http.MethodPut, "alice-phone", "", `{}`, http.StatusOK, subscribed)
	send(http.MethodPut, "alice-phone", "?user_id=%40bob%3Aexample.org", `{}`, http.StatusOK, "")
	hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
		return eventstest.Reply{Status: http.StatusConflict, Body: `{"errcode":"IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"}`}, r.Method == http.MethodPut
	})
	send(http.MethodPut, "alice-phone", "", `{"automatic":"$cause"}`, http.StatusConflict, "")
	send(http.MethodGet, "alice-phone", "", "", http.StatusNotFound, "") // as the homeserver answers
}

// checkReport checks what was published of a receipt, or of a redaction with a transaction id.
func checkReport(t *testing.T, name string, raw []byte, want, txn string) {
	t.Helper()
	at := time.Now().UnixMilli()
	if room, _, err := events.ParseMarks(raw); err == nil {
		if got := gjson.GetBytes(raw, "content").Raw; room != "!r:x" || got != want {
			t.Errorf("%s: published %s, want %s", name, got, want)
		}
		return
	}
	if room, receipts, err := events.ParseReceipts(raw); err == nil {
		ts := gjson.GetBytes(raw, "content.*.*.*.ts")
		if room != "!r:x" || len(receipts) != 1 || receipts[0].User != alice || at-ts.Int() > 60_000 {
			t.Errorf("%s: %s", name, raw)
		}
		got := regexp.MustCompile(`"ts":\d+`).ReplaceAllString(gjson.GetBytes(raw, "content").Raw, "")
		if got = strings.ReplaceAll(got, ",}", "}"); got != strings.ReplaceAll(want, ",}", "}") && got != strings.Replace(want, "{\"thread", "{,\"thread", 1) {
			t.Errorf("%s: published %s, want %s", name, got, want)
		}
		return
	}
	ev, err := events.ParseRoomEvent(raw)
	if err != nil || ev.Type != "m.room.redaction" || ev.Sender != alice || ev.RoomID != "!r:x" || ev.EventID != events.EventID("$redaction-"+txn) ||
		at-ev.OriginServerTS > 60_000 || gjson.GetBytes(raw, "redacts").Str != "$1" {
		t.Errorf("%s: %s, %v", name, raw, err)
	}
	if string(ev.Content) != want {
		t.Errorf("%s: published %s, want %s", name, ev.Content, want)
	}
}

// Nothing is published that the homeserver did not confirm, or of somebody whom it does not
// name.
func TestReportsThatTheHomeserverDoesNotConfirm(t *testing.T) {
	h, hs := newHomeserverHouse(t)
	const receipt = prefixV3 + reportRoom + "/receipt/m.read/%241"
	var instead map[string]eventstest.Reply // by part of the path
	hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
		for part, reply := range instead {
			if strings.Contains(r.URL.Path, part) {
				return reply, true
			}
		}
		return eventstest.Reply{}, false
	})
	for name, c := range map[string]struct {
		instead map[string]eventstest.Reply
		token   string
		want    int
	}{
		"refused":             {map[string]eventstest.Reply{"receipt": {Status: 403, Body: `{"errcode":"M_FORBIDDEN"}`}}, "alice-phone", 403},
		"failed":              {map[string]eventstest.Reply{"receipt": {Status: 500, Body: `{}`}}, "alice-phone", 500},
		"a stranger":          {nil, "guess", 401},
		"nobody can be asked": {map[string]eventstest.Reply{"whoami": {Status: 500, Body: `{}`}}, "alice-laptop", 200},
	} {
		instead = c.instead
		if status, _, _ := h.request(http.MethodPost, receipt, c.token, `{}`); status != c.want {
			t.Errorf("%s: answered %d", name, status)
		}
		if n := len(h.nats.Stored("ROOMS", "")); n != 0 {
			t.Fatalf("%s: published", name)
		}
	}
}

// While NATS is away clients get the homeserver's answer, and what they sent is published when
// NATS is back.
func TestReportsWaitForNATS(t *testing.T) {
	h, _ := newHomeserverHouse(t)
	stop := h.run()
	send := func(event string) {
		t.Helper()
		began := time.Now()
		if status, _, _ := h.request(http.MethodPost, prefixV3+reportRoom+"/receipt/m.read/"+event, "alice-phone", `{}`); status != 200 {
			t.Errorf("%s: answered %d", event, status)
		}
		if took := time.Since(began); took > 2*reportTry {
			t.Errorf("%s: answered after %s", event, took)
		}
	}
	h.nats.Stop()
	send("first")
	send("second")
	if got := h.reg.api.reports.snapshot(); got.Waiting != 2 {
		t.Errorf("%+v", got)
	}
	h.nats.Start()
	eventstest.WaitFor(t, "the receipts", func() bool { return h.reg.api.reports.snapshot().Waiting == 0 })
	send("third")
	var got []string
	for _, msg := range h.nats.Stored("ROOMS", "") {
		_, receipts, _ := events.ParseReceipts(msg.Data)
		got = append(got, string(receipts[0].Event))
	}
	if all := strings.Join(slices.Compact(got), " "); all != "first second third" {
		t.Errorf("published %s", all)
	}

	// What waits at a stop, or beyond the limit, is said to be lost.
	h.nats.Stop()
	receipt := receiptEDU{Type: "m.receipt", RoomID: "!r:example.org", Content: map[string]map[receiptKind]map[events.UserID]map[string]any{
		"$e": {readReceipt: {alice: {"ts": 1}}},
	}}
	for range reportsWaiting + 2 {
		h.reg.api.reports.waiting.Add(1) // as if one waited already: no client waits to find out
		h.reg.api.reports.take(t.Context(), receipt)
		h.reg.api.reports.waiting.Add(-1)
	}
	if got := h.reg.api.reports.snapshot(); got.Lost == 0 || got.Lost > 2 {
		t.Errorf("%+v", got)
	}
	stop()
	if got := h.reg.api.reports.snapshot(); got.Lost != reportsWaiting+2 {
		t.Errorf("%+v", got)
	}
	if log := h.log.String(); !strings.Contains(log, "some are lost") || !strings.Contains(log, "that waited for nats are lost") {
		t.Error("nothing is logged")
	}
}
