package registry

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/pushgateway"
	"poked/events/stream"
	"poked/registry/outbox"
	"poked/registry/store"
)

const (
	alice = "@alice:example.org"
	bob   = "@bob:example.org"
)

// tokens is the token file of most tests. The token of a user and a device is
// <user>-<device>.
const tokens = `# token user_id [device_id]
alice-phone @alice:example.org PHONE
alice-laptop @alice:example.org LAPTOP
alice-nodevice @alice:example.org

bob-phone @bob:example.org PHONE
`

// house is a registry with a real database, real NATS and a real HTTP server.
type house struct {
	t    *testing.T
	cfg  Config
	nats *natstest.Server
	conn *stream.Conn
	log  *eventstest.LogBuffer
	reg  *Registry

	forbidden string // table; see forbid
	owners    *owners
	web       *httptest.Server
}

// newHouse opens a registry. Its HTTP API answers at once; the outbox and the consumers
// run only after run. The test runs in parallel with others, since NATS takes a second
// to start.
func newHouse(t *testing.T, change ...func(*Config)) *house {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	cfg := Config{HTTP: "127.0.0.1:0", Database: newDatabase(t), Tokens: filepath.Join(dir, "tokens"), Rate: 1e6, Burst: 1e6}
	for _, c := range change {
		c(&cfg)
	}
	if cfg.Tokens != "" {
		writeFile(t, cfg.Tokens, tokens)
	}
	h := &house{t: t, cfg: cfg, log: &eventstest.LogBuffer{}, nats: natstest.StartServer(t)}
	h.conn = h.nats.Connect(natstest.Topology())
	h.owners = newOwners(t, h.nats.Connect(natstest.Topology()))
	h.open()
	return h
}

func (h *house) open() {
	h.t.Helper()
	policy, err := pushgateway.NewPolicy([]string{"127.0.0.1"}, nil, true)
	if err != nil {
		h.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.reg, err = Open(h.t.Context(), h.cfg, policy, h.conn, log)
	if err != nil {
		h.t.Fatal(err)
	}
	reg, web := h.reg, httptest.NewServer(h.reg.Handler())
	h.web = web
	h.t.Cleanup(func() { web.Close(); _ = reg.Close() })
}

// close stops the registry without letting it finish anything.
func (h *house) close() {
	h.t.Helper()
	h.web.Close()
	if err := h.reg.Close(); err != nil {
		h.t.Fatal(err)
	}
}

// run runs the registry until the end of the test, or until stop.
func (h *house) run() (stop func()) { return runUntil(h.t, h.reg.Run) }

// request sends one request and returns status, headers and body.
func (h *house) request(method, path, token, body string) (int, http.Header, []byte) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.web.URL+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
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
	return res.StatusCode, res.Header, answer
}

// try sets a pusher and returns the status and the error, if any.
func (h *house) try(path, token, body string) (int, errorBody) {
	h.t.Helper()
	return h.change(http.MethodPost, path, token, body)
}

// change sends a request whose answer is {} or an error, and returns the status
// and the error.
func (h *house) change(method, path, token, body string) (int, errorBody) {
	h.t.Helper()
	status, _, answer := h.request(method, path, token, body)
	var e errorBody
	if err := json.Unmarshal(answer, &e); err != nil {
		h.t.Fatalf("%q is not JSON: %v", answer, err)
	}
	if status == http.StatusOK && string(answer) != "{}\n" {
		h.t.Errorf("200 with %s", answer)
	}
	return status, e
}

// set sets a pusher and checks that it succeeds.
func (h *house) set(token string, keys map[string]any) {
	h.t.Helper()
	if status, e := h.try(prefixV3+"/pushers/set", token, encode(h.t, keys)); status != http.StatusOK {
		h.t.Fatalf("set: %d %+v", status, e)
	}
}

// pushkeys returns the pushkeys in the answer to GET pushers, in order.
func (h *house) pushkeys(token string) []string {
	h.t.Helper()
	var list struct{ Pushers []clientPusher }
	_, _, answer := h.request(http.MethodGet, prefixV3+"/pushers", token, "")
	if err := json.Unmarshal(answer, &list); err != nil {
		h.t.Fatal(err)
	}
	keys := []string{}
	for _, p := range list.Pushers {
		keys = append(keys, p.Pushkey)
	}
	return keys
}

// bucket returns the pushers in NATS.
func (h *house) bucket() map[events.UserID]events.UserPushers {
	h.t.Helper()
	all := map[events.UserID]events.UserPushers{}
	for set, err := range h.conn.AllPushers(h.t.Context()) {
		if err != nil {
			h.t.Fatal(err)
		}
		all[set.UserID] = set
	}
	return all
}

// database returns the pushers in the database, of all users who have any.
func (h *house) database() map[events.UserID]events.UserPushers {
	h.t.Helper()
	all := map[events.UserID]events.UserPushers{}
	for user, s := range h.inDatabase(store.InPushers) {
		all[user] = events.UserPushers{UserID: user, Version: s.Version, Pushers: s.Content.([]events.Pusher)}
	}
	return all
}

// published is a user's value in a bucket, or the value in the database for the bucket.
type published struct {
	Version int64
	Content any
}

func (h *house) inDatabase(b store.Bucket) map[events.UserID]published {
	h.t.Helper()
	values, err := h.reg.store.ValuesAfter(h.t.Context(), b, "", 1e6)
	if err != nil {
		h.t.Fatal(err)
	}
	all := map[events.UserID]published{}
	for _, v := range values {
		if v.Filled {
			all[v.User] = published{v.Version, v.Content}
		}
	}
	return all
}

// inBucket fails when NATS is away.
func (h *house) inBucket(b store.Bucket) (map[events.UserID]published, error) {
	all := map[events.UserID]published{}
	for v, err := range outbox.All(h.t.Context(), h.conn, b) {
		if err != nil {
			return nil, err
		}
		all[v.User] = published{v.Version, v.Content}
	}
	return all, nil
}

// waitSettled waits until the outbox is empty and NATS holds what the database holds.
func (h *house) waitSettled() {
	h.t.Helper()
	eventstest.WaitFor(h.t, "the buckets to match the database", func() bool {
		for _, b := range []store.Bucket{store.InPushers, store.InPushRules} {
			held, err := h.inBucket(b)
			if err != nil || encode(h.t, held) != encode(h.t, h.inDatabase(b)) {
				return false
			}
		}
		return h.count("outbox") == 0
	})
}

func (h *house) count(table string) (n int) {
	h.t.Helper()
	if err := h.reg.db.Get(h.t.Context(), &n, "SELECT count(*) FROM "+table); err != nil {
		h.t.Fatal(err)
	}
	return n
}

// body returns the keys of a valid pushers/set, with changes. The value nil removes a
// key; null is JSON's null.
func body(changes ...map[string]any) map[string]any {
	keys := map[string]any{
		"pushkey": "key", "kind": "http", "app_id": "org.example.app", "app_display_name": "App",
		"device_display_name": "Phone", "lang": "en",
		"data": map[string]any{"url": "https://gateway.example.org/_matrix/push/v1/notify", "format": "event_id_only"},
	}
	for _, c := range changes {
		maps.Copy(keys, c)
	}
	maps.DeleteFunc(keys, func(_ string, v any) bool { return v == nil })
	return keys
}

type keys = map[string]any

var null = json.RawMessage("null")

func encode(t *testing.T, value any) string {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runUntil runs a function until the end of the test, or until stop, and checks that it
// ends without an error.
func runUntil(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(eventstest.Patience):
			t.Error("does not stop")
		}
	})
	t.Cleanup(stop)
	return stop
}

// exec runs a statement on the database, bypassing the registry.
func (h *house) exec(query string) {
	h.t.Helper()
	if err := h.reg.db.Exec(h.t.Context(), query); err != nil {
		h.t.Fatal(err)
	}
}
