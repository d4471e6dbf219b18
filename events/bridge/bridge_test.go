package bridge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
)

func TestMain(m *testing.M) {
	natstest.Prepare()
	m.Run()
}

func TestRequestsNeedTheToken(t *testing.T) {
	h := newHouse(t)
	for _, tt := range []struct {
		name, path, token string
		status            int
		errcode           string
	}{
		{"the homeserver", txn, hsToken, 200, ""},
		{"the homeserver by the query", txn + "?access_token=" + hsToken, "", 200, ""},
		{"the homeserver by the legacy path", "/transactions/2", hsToken, 200, ""},
		{"nobody", txn, "", 401, "M_MISSING_TOKEN"},
		{"somebody else", txn, "hs-token-of-another-test", 403, "M_FORBIDDEN"},
		{"somebody else by the query", txn + "?access_token=x", "", 403, "M_FORBIDDEN"},
		{"poked itself", txn, eventstest.ASToken, 403, "M_FORBIDDEN"},
	} {
		if status, errcode := h.request(http.MethodPut, tt.path, tt.token, transaction()); status != tt.status || errcode != tt.errcode {
			t.Errorf("%s: %d %s, want %d %s", tt.name, status, errcode, tt.status, tt.errcode)
		}
	}
	for _, secret := range []string{hsToken, eventstest.ASToken, "hs-token-of-another-test"} {
		if strings.Contains(h.log.String(), secret) {
			t.Errorf("the log holds a token:\n%s", h.log)
		}
	}
}

func TestOtherRoutes(t *testing.T) {
	h := newHouse(t)
	for _, tt := range []struct {
		method, path string
		status       int
		errcode      string
	}{
		{"POST", "/_matrix/app/v1/ping", 200, ""},
		{"GET", "/_matrix/app/v1/users/%40alice%3Aexample.org", 404, "M_NOT_FOUND"},
		{"GET", "/users/%40alice%3Aexample.org", 404, "M_NOT_FOUND"},
		{"GET", "/_matrix/app/v1/rooms/%23room%3Aexample.org", 404, "M_NOT_FOUND"},
		{"GET", "/rooms/%23room%3Aexample.org", 404, "M_NOT_FOUND"},
		{"GET", txn, 404, "M_UNRECOGNIZED"},
		{"GET", "/_matrix/app/v1/thirdparty/protocol/x", 404, "M_UNRECOGNIZED"},
	} {
		if status, errcode := h.request(tt.method, tt.path, hsToken, "{}"); status != tt.status || errcode != tt.errcode {
			t.Errorf("%s %s: %d %s, want %d %s", tt.method, tt.path, status, errcode, tt.status, tt.errcode)
		}
	}
}

// A request that is not a transaction is refused as a whole and stays with the
// homeserver.
func TestBadTransactions(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	for _, tt := range []struct {
		name, body string
		status     int
		errcode    string
	}{
		{"nothing", "", 400, "M_NOT_JSON"},
		{"not JSON", `{"events":[` + create(), 400, "M_NOT_JSON"},
		{"no object", `[` + create() + `]`, 400, "M_BAD_JSON"},
		{"no events", `{"ephemeral":[]}`, 400, "M_BAD_JSON"},
		{"events is null", `{"events":null}`, 400, "M_BAD_JSON"},
		{"events is an object", `{"events":{}}`, 400, "M_BAD_JSON"},
		{"too large", `{"events":["` + strings.Repeat("x", 64<<20) + `"]}`, 413, "M_TOO_LARGE"},
	} {
		if status, errcode := h.request(http.MethodPut, txn, hsToken, tt.body); status != tt.status || errcode != tt.errcode {
			t.Errorf("%s: %d %s, want %d %s", tt.name, status, errcode, tt.status, tt.errcode)
		}
	}
	h.want("after all of that", "")
}

// An event that cannot be parsed becomes one dead letter, and the rest of its
// transaction is stored.
func TestBadEvents(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	body := transaction(create(),
		`{"event_id":"$x","type":"m.room.message","sender":"@a:example.org","content":{}}`, // without a room
		`"CANARY"`, `7`, `null`,
		`{"event_id":"$big","room_id":"!r","type":"m.x","sender":"@a:example.org","content":{"body":"`+strings.Repeat("CANARY", 10<<20/6)+`"}}`,
		message("$after"))
	for range 2 {
		if status, errcode := h.request(http.MethodPut, txn, hsToken, body); status != 200 {
			t.Fatalf("%d %s", status, errcode)
		}
	}
	h.want("the good ones", "$create $after")
	if n := h.dead(); n != 5 {
		t.Errorf("%d dead letters, want 5", n)
	}
	if counts := h.bridge.Counts(); counts.Bad != 5 || counts.Events != 2 || counts.Repeated != 2 || counts.Transactions != 2 {
		t.Errorf("counts %+v", counts)
	}
	if strings.Contains(h.log.String(), "CANARY") {
		t.Error("the log holds content")
	}
}

// An event that no gateway could parse does not keep its transaction from being stored;
// otherwise the homeserver would repeat it for ever. State that cannot be parsed is
// stored without content, so that a member who has left does not count as joined.
func TestUnparsableEventsDoNotBlockTheirTransaction(t *testing.T) {
	h := newHouse(t)
	for i, text := range []string{
		`"\ud800"`, "\"\xff\"", `1e400`, strings.Repeat("[", 100) + strings.Repeat("]", 100),
		strings.Repeat(`{"a":`, 20_000) + `[1,"\"]}",{}]` + strings.Repeat(`}`, 20_000),
	} {
		bad := strings.Replace(message(fmt.Sprintf("$bad%d", i)), `"hi"`, text, 1)
		if status, errcode := h.request(http.MethodPut, txn, hsToken, transaction(bad, message(fmt.Sprintf("$good%d", i)))); status != 200 {
			t.Errorf("with %.20q: %d %s", text, status, errcode)
		}
	}
	h.want("the good ones", "$good0 $good1 $good2 $good3 $good4")
	leave := state("$leave", "m.room.member", "@alice:example.org", `{"membership":"leave","x":"\ud800"}`)
	for range 2 {
		if status, errcode := h.request(http.MethodPut, txn, hsToken, transaction(leave, message("$after"))); status != 200 {
			t.Errorf("%d %s", status, errcode)
		}
	}
	h.want("the state", "$good0 $good1 $good2 $good3 $good4 $leave $after")
	for _, msg := range h.nats.Stored("ROOMS", "") {
		if ev, err := events.ParseRoomEvent(msg.Data); err != nil || msg.Historical != (ev.EventID == "$leave") || ev.IsState && string(ev.Content) != "{}" {
			t.Errorf("stored, historical %t: %s", msg.Historical, msg.Data)
		}
	}
	if counts := h.bridge.Counts(); h.dead() != 6 || counts.Bad != 6 || counts.Events != 6 {
		t.Errorf("%d dead letters, counts %+v", h.dead(), counts)
	}
}

// A transaction is parsed completely or not at all, however deeply it is nested.
func TestDeepIncompleteTransactionsAreRefused(t *testing.T) {
	h := newHouse(t)
	deep := strings.Repeat("[", 20_000)
	for _, body := range []string{
		transaction(deep + strings.Repeat("]", 19_999)), `{"events":[` + deep, `{"events":[` + deep + strings.Repeat("]", 20_000) + `]`,
		`{"events":[` + deep + strings.Repeat("]", 20_000) + `"x"]}`, `{"events":[],"events":[]}`,
	} {
		if status, _ := h.request(http.MethodPut, txn, hsToken, body); status != 400 {
			t.Errorf("%d bytes that end with %q: %d", len(body), body[len(body)-10:], status)
		}
	}
	if h.dead() != 0 {
		t.Errorf("%d dead letters", h.dead())
	}
}

func TestEphemeral(t *testing.T) {
	h := newHouse(t)
	receipt := `{"type":"m.receipt","room_id":"!r","content":{"$create":{"m.read":{"@alice:example.org":{"ts":1}}}}}`
	typing := `{"type":"m.typing","room_id":"!r","content":{"user_ids":[]}}`
	noRoom := strings.Replace(receipt, `"room_id":"!r",`, "", 1)
	for _, body := range []string{
		`{"events":[` + create() + `],"ephemeral":[` + receipt + `,` + typing + `]}`,
		`{"events":[],"de.sorunome.msc2409.ephemeral":[` + receipt + `]}`,
		// A homeserver that sends both forms of ephemeral events sends each of them
		// once.
		`{"events":[],"ephemeral":[` + receipt + `],"de.sorunome.msc2409.ephemeral":[` + receipt + `]}`,
		`{"events":[],"ephemeral":[` + noRoom + `,7],"to_device":[{"type":"m.x"}]}`,
	} {
		if status, errcode := h.request(http.MethodPut, txn, hsToken, body); status != 200 {
			t.Fatalf("%d %s", status, errcode)
		}
	}
	h.want("events and receipts", "$create receipt receipt receipt")
	if counts := h.bridge.Counts(); counts.Ignored != 3 || counts.Bad != 1 || h.dead() != 1 {
		t.Errorf("counts %+v, %d dead letters", counts, h.dead())
	}
}

// An event that is too old on arrival changes the state of its room and notifies
// nobody.
func TestLateEvents(t *testing.T) {
	h := newHouse(t)
	h.put(create(), messageAt("$yesterday", time.Now().Add(-25*time.Hour)), messageAt("$today", time.Now().Add(-23*time.Hour)))
	h.want("all are stored", "$create $yesterday $today")
	var late []bool
	for _, msg := range h.nats.Stored("ROOMS", "") {
		late = append(late, msg.Historical)
	}
	if got := fmt.Sprint(late); got != "[false true false]" {
		t.Errorf("historical are %s", got)
	}
}

// A sender's server with a wrong clock does not make an event late, nor new, if the
// homeserver tells the event's age.
func TestLateEventsByTheirAge(t *testing.T) {
	h := newHouse(t)
	aged := func(id string, sent time.Duration, age string) string {
		return strings.TrimSuffix(messageAt(id, time.Now().Add(-sent)), "}") + `,"unsigned":{"age":` + age + `}}`
	}
	h.put(create(), aged("$behind", 48*time.Hour, "120"), aged("$ahead", -48*time.Hour, "172800000"),
		aged("$none", 48*time.Hour, `"120"`), aged("$negative", 48*time.Hour, "-5"), aged("$beyond", 0, "1e300"))
	h.want("all are stored", "$create $behind $ahead $none $negative $beyond")
	var late []bool
	for _, msg := range h.nats.Stored("ROOMS", "") {
		late = append(late, msg.Historical)
	}
	if got := fmt.Sprint(late); got != "[false false true true false true]" {
		t.Errorf("historical are %s", got)
	}
}

// While NATS is away nothing is acknowledged; afterwards the same transaction is stored
// completely.
func TestNATSAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newQuietHouse(t)
		h.put(create(), message("$1"))
		h.nats.Stop()
		body := transaction(message("$2"), `{}`)
		if status, errcode := h.request(http.MethodPut, txn, hsToken, body); status != 503 || errcode != "M_UNKNOWN" {
			t.Errorf("with NATS away: %d %s", status, errcode)
		}
		h.nats.Start()
		eventstest.WaitFor(t, "NATS to be back", h.conn.Connected)
		h.put(message("$2"), `{}`, message("$3"))
		h.want("in the end", "$create $1 $2 $3")
		if h.dead() != 1 {
			t.Errorf("%d dead letters", h.dead())
		}
	})
}

// A short outage of NATS is hidden from the homeserver.
func TestNATSAwayForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newQuietHouse(t)
		h.put(create())
		h.nats.Stop()
		time.AfterFunc(10*time.Second, h.nats.Start)
		h.put(message("$1"), message("$2"))
		h.want("after it", "$create $1 $2")
	})
}
