package bridge_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/bridge"
	"poked/events/eventstest"
	"poked/events/homeserver"
	"poked/events/natstest"
	"poked/events/stream"
)

const hsToken = "hs-token-of-the-test"

// house is a bridge with real NATS, a homeserver for its requests, and a test that
// sends transactions.
type house struct {
	t       *testing.T
	nats    *natstest.Server
	conn    *stream.Conn
	hs      *eventstest.Homeserver // nil without a homeserver
	bridge  *bridge.Bridge
	handler http.Handler
	web     *httptest.Server // nil in a bubble, where nothing listens
	log     *eventstest.LogBuffer
}

func newHouse(t *testing.T) *house {
	t.Helper()
	t.Parallel()
	h := &house{t: t, nats: natstest.StartServer(t), hs: eventstest.StartHomeserver(t), log: &eventstest.LogBuffer{}}
	h.conn = h.nats.Connect(natstest.Topology())
	h.open()
	return h
}

// newQuietHouse returns a house for a bubble, where waiting takes no real time: it
// listens on no port, and its homeserver is not reachable.
func newQuietHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, nats: natstest.StartServer(t), log: &eventstest.LogBuffer{}}
	h.conn = h.nats.Connect(natstest.Topology())
	h.open()
	return h
}

// open opens a new bridge with empty caches.
func (h *house) open() {
	h.t.Helper()
	url := "http://127.0.0.1:1"
	if h.hs != nil {
		url = h.hs.URL
	}
	client, err := homeserver.New(url)
	if err != nil {
		h.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg := bridge.Config{HTTP: "127.0.0.1:0", Late: 24 * time.Hour}
	h.bridge, err = bridge.Open(h.t.Context(), cfg, client, registration(h.t), h.conn, log)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	b := h.bridge
	h.handler = b.Handler(ctx)
	h.t.Cleanup(func() { cancel(); client.Close(); _ = b.Close() })
	if h.hs != nil {
		web := httptest.NewServer(h.handler)
		h.web = web
		h.t.Cleanup(web.Close)
	}
}

func registration(t *testing.T) *homeserver.Registration {
	t.Helper()
	path := filepath.Join(t.TempDir(), "registration.yaml")
	text := fmt.Sprintf("id: poked\nas_token: %s\nhs_token: %s\nnamespaces:\n  users:\n  - exclusive: false\n    regex: '@.*:example\\.org'\n",
		eventstest.ASToken, hsToken)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	reg, err := homeserver.ReadRegistration(path)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

// request sends one request to the bridge and returns the status and the errcode.
func (h *house) request(method, path, token, body string) (int, string) {
	h.t.Helper()
	status, answer := h.send(method, path, token, body)
	var e struct {
		Errcode string `json:"errcode"`
	}
	if err := json.Unmarshal([]byte(answer), &e); err != nil {
		h.t.Errorf("%s %s: %d with %q, which is not JSON", method, path, status, answer)
	}
	return status, e.Errcode
}

func (h *house) send(method, path, token, body string) (int, string) {
	h.t.Helper()
	url := path
	if h.web != nil {
		url = h.web.URL + path
	}
	req, err := http.NewRequestWithContext(h.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if h.web == nil {
		answer := httptest.NewRecorder()
		h.handler.ServeHTTP(answer, req)
		return answer.Code, answer.Body.String()
	}
	res, err := h.web.Client().Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

// put sends a transaction and checks that it is stored.
func (h *house) put(list ...string) {
	h.t.Helper()
	if status, errcode := h.request(http.MethodPut, txn, hsToken, transaction(list...)); status != http.StatusOK {
		h.t.Fatalf("transaction: %d %s\n%s", status, errcode, h.log)
	}
}

const txn = "/_matrix/app/v1/transactions/1"

func transaction(list ...string) string {
	return `{"events":[` + strings.Join(list, ",") + `]}`
}

// message returns a message in room !r with the current time.
func message(id string) string { return messageAt(id, time.Now()) }

func messageAt(id string, at time.Time) string {
	return fmt.Sprintf(`{"event_id":%q,"room_id":"!r","type":"m.room.message","sender":"@alice:example.org","origin_server_ts":%d,"content":{"body":"hi"}}`,
		id, at.UnixMilli())
}

// state returns a state event of room !r.
func state(id, kind, key, content string) string {
	return fmt.Sprintf(`{"event_id":%q,"room_id":"!r","type":%q,"state_key":%q,"sender":"@alice:example.org","origin_server_ts":%d,"content":%s}`,
		id, kind, key, time.Now().UnixMilli(), content)
}

func create() string { return state("$create", "m.room.create", "", `{}`) }

func member(id, user, membership string) string {
	return state(id, "m.room.member", user, `{"membership":"`+membership+`"}`)
}

// stored returns the ids of the events that ROOMS holds, in order, and "receipt" for
// each receipt.
func (h *house) stored() string {
	h.t.Helper()
	var ids []string
	for _, msg := range h.nats.Stored("ROOMS", "") {
		if strings.HasSuffix(msg.Subject, ".receipt") {
			ids = append(ids, "receipt")
			continue
		}
		ev, err := events.ParseRoomEvent(msg.Data)
		if err != nil {
			h.t.Fatal(err)
		}
		ids = append(ids, string(ev.EventID))
	}
	return strings.Join(ids, " ")
}

func (h *house) want(what, want string) {
	h.t.Helper()
	if got := h.stored(); got != want {
		h.t.Errorf("%s: ROOMS holds %q, want %q\n%s", what, got, want, h.log)
	}
}

// dead returns how many dead letters there are.
func (h *house) dead() int { return len(h.nats.Stored("DEAD", "")) }

func raw(list ...string) []json.RawMessage {
	var all []json.RawMessage
	for _, ev := range list {
		all = append(all, json.RawMessage(ev))
	}
	return all
}
