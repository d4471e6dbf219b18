package registry

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/webpush/webpushtest"
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
			!strings.HasPrefix(p.header.Get("Authorization"), "vapid t=") || !strings.HasSuffix(p.header.Get("Authorization"), ", k="+h.reg.browsers.Key().Public()) {
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
		if err := h.reg.db.Select(t.Context(), &dump, "SELECT data || ack_digest || ack_failure || lang FROM pushers"); err != nil || strings.Contains(strings.Join(dump, " "), token) {
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
	other = &house{t: t, cfg: cfg, log: &eventstest.LogBuffer{}, nats: natstest.StartServer(t)}
	other.conn = other.nats.Connect(natstest.Topology())
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
			err := h.reg.db.Select(t.Context(), &failure, "SELECT ack_failure FROM pushers WHERE pushkey = ? AND ack_due = 0", b.Pushkey())
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
		err := h.reg.db.Get(t.Context(), &failure, "SELECT ack_failure FROM pushers")
		return err == nil && failure == "refused_url"
	})
}
