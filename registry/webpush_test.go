package registry

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/webpush"
	"poked/events/webpush/webpushtest"
	"poked/registry/database"
)

const pathAck = prefixV3 + "/pushers/ack"

func withWebPush(c *Config) { c.WebPushSubject = "mailto:push@matrix.org" }

func newBrowser(t *testing.T) *webpushtest.Browser {
	t.Helper()
	b, err := webpushtest.New()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// browserBody returns the keys of a valid pushers/set for a browser.
func browserBody(b *webpushtest.Browser, url string, changes ...map[string]any) map[string]any {
	data := keys{"url": url, "auth": b.Auth()}
	for _, c := range changes {
		maps.Copy(data, c)
	}
	maps.DeleteFunc(data, func(_ string, v any) bool { return v == nil })
	return body(keys{"kind": events.KindWebPush, "pushkey": b.Pushkey(), "data": data})
}

// pushService is a push service that answers with a status, and keeps what it got.
type pushService struct {
	*httptest.Server

	mu     sync.Mutex
	answer func(w http.ResponseWriter, n int)
	got    []pushed
}

type pushed struct {
	header http.Header
	path   string
	body   []byte
}

func newPushService(t *testing.T) *pushService {
	t.Helper()
	s := &pushService{answer: func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusCreated) }}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.got = append(s.got, pushed{r.Header, r.URL.RequestURI(), body})
		n, answer := len(s.got), s.answer
		s.mu.Unlock()
		answer(w, n)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *pushService) pushes() []pushed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// ask sets a browser and returns the token that is pushed to it.
func (h *house) ask(s *pushService, b *webpushtest.Browser, path string) string {
	h.t.Helper()
	before := len(s.pushes())
	h.set201(browserBody(b, s.URL+path))
	eventstest.WaitFor(h.t, "the token to be pushed", func() bool { return len(s.pushes()) > before })
	return h.token(b, s.pushes()[before])
}

func (h *house) set201(keys map[string]any) {
	h.t.Helper()
	if status, e := h.try(setV3, "alice-phone", encode(h.t, keys)); status != http.StatusCreated {
		h.t.Fatalf("set: %d %+v", status, e)
	}
}

func (h *house) token(b *webpushtest.Browser, p pushed) string {
	h.t.Helper()
	message, err := b.Open(p.body)
	var got map[string]string
	if err != nil || json.Unmarshal(message, &got) != nil || len(got) != 2 || got["app_id"] != "org.example.app" || len(got["ack_token"]) != 36 {
		h.t.Fatalf("pushed %q, %v", message, err)
	}
	return got["ack_token"]
}

// ack acknowledges a token and returns the status and the errcode.
func (h *house) ack(token string) (int, string) {
	h.t.Helper()
	status, e := h.try(pathAck, "alice-phone", encode(h.t, keys{"app_id": "org.example.app", "ack_token": token}))
	return status, e.Errcode
}

// activated returns "activated" of the pushers that alice sees.
func (h *house) activated() (list []any) {
	h.t.Helper()
	var shown struct{ Pushers []map[string]any }
	_, _, answer := h.request(http.MethodGet, prefixV3+"/pushers", "alice-phone", "")
	if err := json.Unmarshal(answer, &shown); err != nil {
		h.t.Fatal(err)
	}
	for _, p := range shown.Pushers {
		list = append(list, p["activated"])
	}
	return list
}

// A browser is set, asked and active once it has acknowledged, on both databases. That survives
// a restart, and the database has no token.
func TestBrowserIsActivated(t *testing.T) {
	eachDatabase(t, func(t *testing.T, setDatabase func(*Config)) {
		h, s, b := newHouse(t, setDatabase, withWebPush), newPushService(t), newBrowser(t)
		stop := h.run()
		token := h.ask(s, b, "/any/path?x=%2F")
		p := s.pushes()[0]
		if p.path != "/any/path?x=%2F" || p.header.Get("Content-Encoding") != "aes128gcm" || len(p.header.Get("Ttl")) != 3 || p.header.Get("Ttl") > "300" ||
			!strings.HasPrefix(p.header.Get("Authorization"), "vapid t=") || !strings.HasSuffix(p.header.Get("Authorization"), ", k="+h.reg.browsers.key.Public()) {
			t.Errorf("pushed to %s with %v", p.path, p.header)
		}
		if got := h.activated(); !slices.Equal(got, []any{false}) {
			t.Errorf("before the acknowledgement activated is %v", got)
		}
		h.waitSettled()
		if set := h.bucket()[alice]; len(set.Pushers) != 1 || !set.Pushers[0].Inactive {
			t.Errorf("dispatchers see %+v", set)
		}
		var dump []string
		if err := h.reg.store.db.Select(t.Context(), &dump, "SELECT data || ack_digest || ack_failure || lang FROM pushers"); err != nil || strings.Contains(strings.Join(dump, " "), token) {
			t.Errorf("the database has the token: %v, %v", dump, err)
		}
		stop()
		h.close()
		h.open()
		h.run()
		if status, code := h.ack(token[1:] + "0"); status != 400 || code != "M_UNKNOWN_ACTIVATION_TOKEN" {
			t.Errorf("another token: %d %s", status, code)
		}
		for range 2 { // the client may not have got the first answer
			if status, code := h.ack(token); status != 200 {
				t.Errorf("the token: %d %s", status, code)
			}
		}
		if got := h.activated(); !slices.Equal(got, []any{true}) {
			t.Errorf("after the acknowledgement activated is %v", got)
		}
		h.waitSettled()
		if set := h.bucket()[alice]; set.Pushers[0].Inactive || set.Version != 2 {
			t.Errorf("dispatchers see %+v", set)
		}
		// The same again changes nothing, a new place does.
		h.set("alice-phone", browserBody(b, s.URL+"/any/path?x=%2F", keys{"format": "event_id_only"}))
		if got := h.activated(); !slices.Equal(got, []any{true}) {
			t.Errorf("after the same again activated is %v", got)
		}
		second := h.ask(s, b, "/elsewhere")
		if got := h.activated(); !slices.Equal(got, []any{false}) || second == token {
			t.Errorf("at a new place activated is %v", got)
		}
	})
}

// A browser that has not acknowledged its pusher gets no test push, and that is told at once.
func TestTestPushToAnInactiveBrowser(t *testing.T) {
	h, b := newHouse(t, withWebPush), newBrowser(t)
	status, _, answer := h.request(http.MethodPost, setV3, "alice-phone", encode(t, browserBody(b, "http://127.0.0.1:1/push")))
	if status != http.StatusCreated {
		t.Fatalf("set: %d %s", status, answer)
	}
	status, result := h.tried(testV3, "alice-phone", testBody(t, keys{"pushkey": b.Pushkey()}))
	if status != http.StatusOK || result != (clientTest{Status: "not_registered", Class: "inactive"}) {
		t.Errorf("%d %+v", status, result)
	}
}

// The answers to an acknowledgement, under both paths.
func TestAcknowledgement(t *testing.T) {
	h, s, b := newHouse(t, withWebPush), newPushService(t), newBrowser(t)
	h.run()
	none := encode(t, keys{"app_id": "org.example.app", "ack_token": "x"})
	for _, path := range []string{pathAck, "/_matrix/client/unstable/org.matrix.msc4174/pushers/ack", prefixR0 + "/pushers/ack"} {
		h.set("alice-phone", body()) // an http pusher of the same app
		if status, e := h.try(path, "alice-phone", none); status != 404 || e.Errcode != "M_NOT_FOUND" {
			t.Errorf("%s: without a browser: %d %+v", path, status, e)
		}
	}
	first := h.ask(s, b, "/1")
	again := h.ask(s, b, "/1") // inactive ones are asked again
	if status, code := h.ack(first); status != 400 || code != "M_UNKNOWN_ACTIVATION_TOKEN" {
		t.Errorf("a token from before it was set again: %d %s", status, code)
	}
	if status, e := h.try(pathAck, "bob-phone", encode(t, keys{"app_id": "org.example.app", "ack_token": again})); status != 404 {
		t.Errorf("another user's token: %d %+v", status, e)
	}
	for _, bad := range []string{`{}`, `{"app_id":"org.example.app"}`, `{"app_id":1,"ack_token":"x"}`, `x`} {
		if status, _ := h.try(pathAck, "alice-phone", bad); status != 400 {
			t.Errorf("%s: %d", bad, status)
		}
	}
	if status, _ := h.try(pathAck, "", none); status != 401 {
		t.Errorf("without a token of access: %d", status)
	}
	h.exec("UPDATE pushers SET ack_expires = 1 WHERE kind = 'webpush'")
	if status, code := h.ack(again); status != 400 || code != "M_EXPIRED_ACTIVATION_TOKEN" {
		t.Errorf("an old token: %d %s", status, code)
	}
	third := h.ask(s, b, "/1")
	if status, e := h.try("/_matrix/client/unstable/org.matrix.msc4174/pushers/ack", "alice-laptop",
		encode(t, keys{"app_id": "org.example.app", "ack_token": third})); status != 200 {
		t.Errorf("the unstable path: %d %+v", status, e)
	}
}

func TestSetBrowserRefuses(t *testing.T) {
	h, b := newHouse(t, withWebPush), newBrowser(t)
	good := "https://push.example.net/x"
	for name, c := range map[string]struct {
		keys map[string]any
		want string
	}{
		"no auth":        {browserBody(b, good, keys{"auth": nil}), "M_MISSING_PARAM"},
		"auth of a type": {browserBody(b, good, keys{"auth": 1}), "M_BAD_JSON"},
		"padded auth":    {browserBody(b, good, keys{"auth": b.Auth() + "=="}), "M_INVALID_PARAM"},
		"short auth":     {browserBody(b, good, keys{"auth": "AAAA"}), "M_INVALID_PARAM"},
		"no url":         {browserBody(b, good, keys{"url": nil}), "M_MISSING_PARAM"},
		"plain http":     {browserBody(b, "http://push.example.net/x"), "M_INVALID_PARAM"},
		"a private host": {browserBody(b, "https://10.0.0.1/x"), "M_INVALID_PARAM"},
		"another format": {browserBody(b, good, keys{"format": "full"}), "M_INVALID_PARAM"},
		"no key":         {body(keys{"kind": "webpush", "pushkey": "key", "data": keys{"url": good, "auth": b.Auth()}}), "M_INVALID_PARAM"},
		"another kind":   {body(keys{"kind": "webPush"}), "M_INVALID_PARAM"},
	} {
		if status, e := h.try(setV3, "alice-phone", encode(t, c.keys)); status != 400 || e.Errcode != c.want || strings.Contains(e.Error, b.Auth()) {
			t.Errorf("%s: %d %+v", name, status, e)
		}
	}
	for _, kind := range []string{events.KindWebPush, events.KindWebPushUnstable} {
		keys := browserBody(newBrowser(t), good, keys{"format": "event_id_only"})
		keys["kind"] = kind
		h.set201(keys)
	}
	off := newOtherHouse(t)
	if status, e := off.try(setV3, "alice-phone", encode(t, browserBody(b, good))); status != 400 || e.Errcode != "M_INVALID_PARAM" {
		t.Errorf("without --webpush-subject: %d %+v", status, e)
	}
	if _, _, answer := off.request(http.MethodGet, prefixV3+"/capabilities", "alice-phone", ""); string(answer) != "{\"capabilities\":{}}\n" {
		t.Errorf("without --webpush-subject the capabilities are %s", answer)
	}
}

// newOtherHouse is newHouse for a second one in a test.
func newOtherHouse(t *testing.T, change ...func(*Config)) *house {
	t.Helper()
	var other *house
	dir := t.TempDir()
	cfg := Config{HTTP: "127.0.0.1:0", Database: filepath.Join(dir, "other.db"), Tokens: filepath.Join(dir, "tokens"), Rate: 1e6, Burst: 1e6}
	for _, c := range change {
		c(&cfg)
	}
	writeFile(t, cfg.Tokens, tokens)
	other = &house{t: t, cfg: cfg, log: &logBuffer{}, nats: eventstest.StartServer(t)}
	other.conn = other.nats.Connect(eventstest.Topology())
	other.open()
	return other
}

// What becomes of a token at a push service that does not take it.
func TestBrowserCannotBeAsked(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t, withWebPush)
	h.run()
	for _, c := range []struct {
		status  int
		failure string // in the database; "gone" if the pusher is
		tries   int
	}{
		{404, "gone", 1}, {410, "gone", 1}, {400, "http_400", 1}, {401, "http_401", 1}, {403, "http_403", 1}, {413, "http_413", 1}, {301, "http_301", 1},
		{429, "", 2}, {500, "", 2}, {503, "", 2}, {507, "", 2},
	} {
		s, b := newPushService(t), newBrowser(t)
		s.answer = func(w http.ResponseWriter, n int) {
			w.Header().Set("Location", s.URL+"/elsewhere")
			w.Header().Set("Retry-After", "1")
			if n > 1 {
				c.status = http.StatusCreated
			}
			w.WriteHeader(c.status)
		}
		status := c.status
		h.set201(browserBody(b, s.URL+"/x"))
		var failure []string
		eventstest.WaitFor(t, "the outcome to be stored", func() bool {
			err := h.reg.store.db.Select(t.Context(), &failure, "SELECT ack_failure FROM pushers WHERE pushkey = ? AND ack_due = 0", b.Pushkey())
			if err != nil {
				t.Fatal(err)
			}
			return len(failure) == 1 && c.failure != "gone" || c.failure == "gone" && !slices.Contains(h.pushkeys("alice-phone"), b.Pushkey())
		})
		if _, _, list := h.request(http.MethodGet, prefixV3+"/pushers", "alice-phone", ""); c.failure != "" && c.failure != "gone" &&
			!strings.Contains(string(list), `"poked.reason":"`+c.failure+`"`) {
			t.Errorf("%d: the user sees %s", status, list)
		}
		if n := len(s.pushes()); n != c.tries || c.failure != "gone" && failure[0] != c.failure {
			t.Errorf("%d: %d tries, %v", status, n, failure)
		}
		h.set("alice-phone", keys{"kind": null, "pushkey": b.Pushkey(), "app_id": "org.example.app"})
	}
}

// A registry that ends before it has pushed a token is followed by itself, or by another.
func TestTokenOfAKilledRegistryIsPushed(t *testing.T) {
	eventstest.Long(t)
	h, s, b := newHouse(t, withWebPush), newPushService(t), newBrowser(t)
	h.set201(browserBody(b, s.URL+"/x")) // it does not run
	h.close()
	h.open()
	h.exec("UPDATE pushers SET ack_due = 1")
	h.run()
	eventstest.WaitFor(t, "the token to be pushed", func() bool { return len(s.pushes()) == 1 })
	if status, code := h.ack(h.token(b, s.pushes()[0])); status != 200 {
		t.Errorf("acknowledged: %d %s", status, code)
	}
}

// G8: a browser's URL is connected to only where the operator allows it, whatever a name means.
func TestG8BrowserIsAskedWhereItIsAllowed(t *testing.T) {
	eventstest.Long(t)
	h, b := newHouse(t, withWebPush), newBrowser(t)
	h.set201(browserBody(b, "https://push.example.net/x"))
	h.close()
	h.open()
	h.exec(`UPDATE pushers SET data = '{"url":"http://127.0.0.2:9/x","auth":"` + b.Auth() + `"}', ack_due = 1`)
	h.run()
	eventstest.WaitFor(t, "the outcome to be stored", func() bool {
		var failure string
		err := h.reg.store.db.Get(t.Context(), &failure, "SELECT ack_failure FROM pushers")
		return err == nil && failure == "refused_url"
	})
}

// The key is made once, published, and the same after a restart; a database that lost it gets it
// back from NATS, and one with another key says so.
func TestVAPIDKeyIsKept(t *testing.T) {
	eachDatabase(t, func(t *testing.T, setDatabase func(*Config)) {
		h := newHouse(t, setDatabase, withWebPush)
		key := h.reg.browsers.key.Secret()
		stop := h.run()
		published := func(want string) func() bool {
			return func() bool {
				v, found, err := h.conn.VAPID(t.Context())
				return err == nil && found && v.PrivateKey == want && v.Subject == "mailto:push@matrix.org"
			}
		}
		eventstest.WaitFor(t, "the key to be published", published(key))
		restart := func(change string) string {
			stop()
			h.exec(change)
			h.close()
			h.open()
			stop = h.run()
			return h.reg.browsers.key.Secret()
		}
		if got := restart("UPDATE vapid SET made_at = 1"); got != key {
			t.Error("another key after a restart")
		}
		if got := restart("DELETE FROM vapid"); got != key || !strings.Contains(h.log.String(), "it gets the one that nats has") {
			t.Error("the key of NATS was not taken")
		}
		other, err := webpush.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		if got := restart("UPDATE vapid SET private_key = '" + other.Secret() + "'"); got != other.Secret() {
			t.Error("the key of the database was not taken")
		}
		eventstest.WaitFor(t, "the key to be published", published(other.Secret()))
		if !strings.Contains(h.log.String(), "nats has another vapid key") {
			t.Error("the loss of a key is not announced")
		}
		// The bucket is lost as well.
		h.nats.DeleteStream("KV_VAPID")
		if err := h.nats.Dial().Setup(t.Context(), eventstest.Topology()); err != nil {
			t.Fatal(err)
		}
		wake(h.reg.browsers.back) // as after a reconnect, and as Keep does
		eventstest.WaitFor(t, "the key to be published again", published(other.Secret()))
		stop()
		h.close()
		// A restored or copied database has it.
		address := filepath.Join(t.TempDir(), "restored.db")
		done, err := Restore(t.Context(), address, database.Options{}, h.conn, false, func() {})
		if err != nil || !done.VAPIDKey {
			t.Errorf("restore: %+v, %v", done, err)
		}
		for _, from := range []string{address, h.cfg.Database} {
			copied := filepath.Join(t.TempDir(), "copied.db")
			if _, err := Copy(t.Context(), Endpoint{Address: from}, Endpoint{Address: copied}, false, func(int) {}); err != nil {
				t.Fatal(err)
			}
			if got := secretIn(t, copied); got != other.Secret() {
				t.Error("a copy has another key")
			}
		}
		h.open() // the cleanup closes it
	})
}

func secretIn(t *testing.T, address string) (secret string) {
	t.Helper()
	s, err := openStore(t.Context(), address, database.Options{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	secret, err = s.VAPID(t.Context())
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return secret
}

// Registries that share a database make one key, however many start at the same time.
func TestSeveralRegistriesHaveOneVAPIDKey(t *testing.T) {
	t.Parallel()
	address := postgres.database(t)
	var stores []*store
	for range 4 {
		s, err := openStore(t.Context(), address, database.Options{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		stores = append(stores, s)
	}
	var group sync.WaitGroup
	kept := make([]string, len(stores))
	for i, s := range stores {
		group.Go(func() {
			key, err := webpush.NewKey()
			if err == nil {
				kept[i], err = s.KeepVAPID(t.Context(), key.Secret())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if kept[0] == "" || len(slices.Compact(kept)) != 1 {
		t.Errorf("%d registries have %d keys", len(stores), len(slices.Compact(kept)))
	}
}

// The capability is in the homeserver's answers, whatever else is there, and absent where it has
// none.
func TestCapabilityIsMerged(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t, withWebPush)
	const capabilities, versions = "/_matrix/client/v3/capabilities", pathVersions
	reply := func(path string, status int, body string) {
		hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
			return eventstest.Reply{Status: status, Body: body}, r.URL.Path == path
		})
	}
	get := func(path string) (int, map[string]any) {
		status, _, answer := h.request(http.MethodGet, path, "alice-phone", "")
		var got map[string]any
		if err := json.Unmarshal(answer, &got); err != nil {
			t.Fatalf("%s: %s: %v", path, answer, err)
		}
		return status, got
	}
	reply(capabilities, 200, `{"capabilities":{"m.change_password":{"enabled":false},"x":12345678901234567890},"y":[1]}`)
	_, got := get(prefixV3 + "/capabilities")
	inner := got["capabilities"].(map[string]any)
	want := map[string]any{"enabled": true, "vapid": h.reg.browsers.key.Public()}
	for _, name := range []string{"m.webpush", "org.matrix.msc4174.webpush"} {
		if !maps.Equal(inner[name].(map[string]any), want) {
			t.Errorf("%s is %v", name, inner[name])
		}
	}
	if inner["m.change_password"].(map[string]any)["enabled"] != false || got["y"] == nil {
		t.Errorf("the homeserver's are lost: %v", got)
	}
	if _, _, raw := h.request(http.MethodGet, prefixR0+"/capabilities", "alice-phone", ""); !strings.Contains(string(raw), "12345678901234567890") {
		t.Errorf("numbers are changed: %s", raw)
	}
	reply(capabilities, 401, `{"errcode":"M_MISSING_TOKEN"}`)
	if status, got := get(prefixV3 + "/capabilities"); status != 401 || got["capabilities"] != nil {
		t.Errorf("a refusal became %d %v", status, got)
	}
	reply(versions, 200, `{"versions":["v1.5"],"unstable_features":{"a":true}}`)
	_, got = get(pathVersions)
	if features := got["unstable_features"].(map[string]any); features["org.matrix.msc4174"] != true || features["a"] != true {
		t.Errorf("versions %v", got)
	}
	reply(versions, 200, `{"versions":["v1.5"]}`)
	if _, got = get(pathVersions); got["unstable_features"].(map[string]any)["org.matrix.msc4174"] != true {
		t.Errorf("versions %v", got)
	}
	reply(versions, 200, `[]`)
	if status, _, answer := h.request(http.MethodGet, pathVersions, "", ""); status != 200 || string(answer) != "[]" {
		t.Errorf("an answer that is no object became %d %s", status, answer)
	}
}

// Without a homeserver poked answers by itself.
func TestCapabilityAlone(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t, withWebPush)
	_, _, answer := h.request(http.MethodGet, prefixV3+"/capabilities", "alice-phone", "")
	if !strings.Contains(string(answer), `"m.webpush":{"enabled":true,"vapid":"`+h.reg.browsers.key.Public()+`"}`) {
		t.Errorf("capabilities %s", answer)
	}
	if status, _, _ := h.request(http.MethodGet, prefixV3+"/capabilities", "", ""); status != 401 {
		t.Errorf("without a token: %d", status)
	}
	if _, _, answer := h.request(http.MethodGet, pathVersions, "", ""); !strings.Contains(string(answer), `"org.matrix.msc4174":true`) {
		t.Errorf("versions %s", answer)
	}
}

// With a homeserver browsers are poked's, and other kinds stay the homeserver's.
func TestBrowserBesideAHomeserver(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t, withWebPush)
	h.run()
	s, b := newPushService(t), newBrowser(t)
	if status, code := h.ack(h.ask(s, b, "/x")); status != 200 {
		t.Errorf("acknowledged: %d %s", status, code)
	}
	if list := hs.Pushkeys(alice); len(list) != 0 {
		t.Errorf("the homeserver has %v", list)
	}
	off, other := newOtherHouse(t), eventstest.StartHomeserver(t)
	off.close()
	other.AddToken("alice-phone", alice, "PHONE")
	off.cfg.Tokens, off.cfg.Homeserver.URL, off.cfg.TokenCache = "", other.URL, time.Minute
	off.open()
	if status, _, _ := off.request(http.MethodPost, setV3, "alice-phone", encode(t, browserBody(b, s.URL+"/x"))); status != 200 || len(other.Pushkeys(alice)) != 1 {
		t.Errorf("with web push off: %d, the homeserver has %v", status, other.Pushkeys(alice))
	}
}
