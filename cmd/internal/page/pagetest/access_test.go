package pagetest_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"poked/cmd/internal/page"
	"poked/events/eventstest"
)

// answered is what came back.
type answered struct {
	StatusCode int
	Header     http.Header
	cookies    []*http.Cookie
}

// ask makes a request and returns the answer with its body.
func ask(t *testing.T, client *http.Client, method, url, body string, headers ...string) (answered, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		if req.Header.Set(headers[i], headers[i+1]); headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{res.StatusCode, res.Header, res.Cookies()}, string(text)
}

// client returns a client that keeps cookies and follows no redirect.
func client(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Timeout: eventstest.Patience, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Who may look, and who may act: on loopback everybody may look who names it and comes through no
// proxy; elsewhere, and to act, one needs the token.
func TestWhoMayLookAndAct(t *testing.T) {
	file := write(t, "token", token+"\n")
	const bearer = "Bearer " + token
	for name, c := range map[string]struct {
		cfg          page.Config
		headers      []string
		look, action int // statuses
	}{
		"loopback":                 {page.Config{Loopback: true}, nil, 503, 403},
		"loopback, by its name":    {page.Config{Loopback: true}, []string{"Host", "localhost:1"}, 503, 403},
		"loopback, IPv6":           {page.Config{Loopback: true}, []string{"Host", "[::1]:1"}, 503, 403},
		"loopback, another name":   {page.Config{Loopback: true}, []string{"Host", "evil.example"}, 403, 403},
		"loopback, a proxy":        {page.Config{Loopback: true}, []string{"X-Forwarded-For", "192.0.2.1"}, 403, 403},
		"loopback, token":          {page.Config{Loopback: true, TokenFile: file}, nil, 503, 303},
		"loopback, right":          {page.Config{Loopback: true, TokenFile: file}, []string{"Authorization", bearer}, 503, 503},
		"loopback, wrong":          {page.Config{Loopback: true, TokenFile: file}, []string{"Authorization", "Bearer wrong"}, 503, 401},
		"loopback, name and token": {page.Config{Loopback: true, TokenFile: file}, []string{"Host", "ops.example", "Authorization", bearer}, 503, 503},
		"elsewhere":                {page.Config{TokenFile: file}, nil, 303, 303},
		"elsewhere, right":         {page.Config{TokenFile: file}, []string{"Authorization", bearer}, 503, 503},
		"elsewhere, wrong":         {page.Config{TokenFile: file}, []string{"Authorization", "Bearer " + token + "x"}, 401, 401},
		"elsewhere, as localhost":  {page.Config{TokenFile: file}, []string{"Host", "localhost"}, 303, 303},
	} {
		c.cfg.Log = slog.New(slog.DiscardHandler)
		p, err := page.New(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(p)
		for path, want := range map[string]int{"/": c.look, "/person?user=@a:b": c.look, "/do/try?user=@a:b": c.action} {
			if strings.HasPrefix(path, "/do") && c.look == 403 {
				want = 403
			}
			// The page has no connection to NATS, so what is allowed is answered with 503.
			if res, _ := ask(t, client(t), http.MethodGet, server.URL+path, "", c.headers...); res.StatusCode != want {
				t.Errorf("%s: %s is answered with %d, want %d", name, path, res.StatusCode, want)
			}
		}
		server.Close()
	}
}

// Without a token on an address that is not loopback there is no page, and a token that cannot be
// read or is too short ends the start.
func TestPageIsNotOpenedWithoutAToken(t *testing.T) {
	if p, err := page.New(page.Config{Log: slog.New(slog.DiscardHandler)}); p != nil || err != nil {
		t.Errorf("opened without a token: %v", err)
	}
	for name, content := range map[string]string{"empty": "", "short": "secret\n", "two": token + "\n" + token + "\n"} {
		_, err := page.New(page.Config{Loopback: true, TokenFile: write(t, "token", content), Log: slog.New(slog.DiscardHandler)})
		if err == nil || strings.Contains(err.Error(), "secret\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := page.New(page.Config{Loopback: true, TokenFile: t.TempDir()}); err == nil {
		t.Error("a directory is taken for a token")
	}
}

// A login gives a cookie that scripts and other sites do not get, ends with another token, and
// after a logout. Guesses are slowed down. A login leads to no other site.
func TestLogin(t *testing.T) {
	file := write(t, "token", token+"\n")
	p, err := page.New(page.Config{TokenFile: file, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(p)
	defer server.Close()
	form := func(token, next string) string { return url.Values{"token": {token}, "next": {next}}.Encode() }
	c := client(t)
	for next, want := range map[string]string{"/dead?reason=expired": "/dead?reason=expired", "https://evil.example/": "/", "//evil.example/": "/", "/\\evil.example": "/", "": "/"} {
		res, _ := ask(t, c, http.MethodPost, server.URL+"/login", form(token, next))
		cookies := res.cookies
		if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != want || len(cookies) != 1 {
			t.Errorf("login to %q: %d %s", next, res.StatusCode, res.Header.Get("Location"))
			continue
		}
		if k := cookies[0]; !k.HttpOnly || k.SameSite != http.SameSiteStrictMode || k.Secure || strings.Contains(k.Value, token) {
			t.Errorf("the cookie is %s", k)
		}
	}
	if res, _ := ask(t, c, http.MethodPost, server.URL+"/login", form(token, "/"), "X-Forwarded-Proto", "https"); !res.cookies[0].Secure {
		t.Error("over HTTPS the cookie is not for HTTPS alone")
	}
	c = client(t)
	ask(t, c, http.MethodPost, server.URL+"/login", form(token, "/"))
	if res, _ := ask(t, c, http.MethodGet, server.URL+"/", ""); res.StatusCode != http.StatusServiceUnavailable { // there is no NATS
		t.Errorf("after a login: %d", res.StatusCode)
	}
	ask(t, c, http.MethodPost, server.URL+"/logout", "")
	if res, _ := ask(t, c, http.MethodGet, server.URL+"/", ""); res.StatusCode != http.StatusSeeOther {
		t.Errorf("after a logout: %d", res.StatusCode)
	}
	ask(t, c, http.MethodPost, server.URL+"/login", form(token, "/"))
	if err := os.WriteFile(file, []byte("another-token-of-length\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.RereadToken(); err != nil {
		t.Fatal(err)
	}
	if res, _ := ask(t, c, http.MethodGet, server.URL+"/", ""); res.StatusCode != http.StatusSeeOther {
		t.Errorf("with another token: %d", res.StatusCode)
	}
	for range 20 {
		ask(t, c, http.MethodPost, server.URL+"/login", form("a guess", "/"))
	}
	if res, text := ask(t, c, http.MethodPost, server.URL+"/login", form("another-token-of-length", "/")); res.StatusCode != http.StatusForbidden || !strings.Contains(text, "Too many attempts") {
		t.Errorf("after many guesses: %d %s", res.StatusCode, text)
	}
}

// An action is refused from another origin, without the token, and with a field that it does not
// know; curl with the token may act.
func TestActionsAreGuarded(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	s := startStand(t, "--ops-token-file", write(t, "token", token+"\n"))
	s.furnish()
	const bearer = "Bearer " + token
	for name, c := range map[string]struct {
		body, method string
		headers      []string
		status       int
	}{
		"another origin": {"user=@bob:example.org", "POST", []string{"Authorization", bearer, "Origin", "https://evil.example"}, 403},
		"another site":   {"user=@bob:example.org", "POST", []string{"Authorization", bearer, "Sec-Fetch-Site", "cross-site"}, 403},
		"no token":       {"user=@bob:example.org", "POST", nil, 401},
		"wrong token":    {"user=@bob:example.org", "POST", []string{"Authorization", "Bearer guess"}, 401},
		"unknown field":  {"usr=@bob:example.org", "POST", []string{"Authorization", bearer}, 400},
		"field twice":    {"user=@bob:example.org&user=@eve:example.org", "POST", []string{"Authorization", bearer}, 400},
		"nobody":         {"app=im.vector.app", "POST", []string{"Authorization", bearer}, 400},
		"bad user":       {"user=bob", "POST", []string{"Authorization", bearer}, 400},
		"curl":           {"user=@bob:example.org", "POST", []string{"Authorization", bearer}, 303},
	} {
		res, text := ask(t, client(t), c.method, s.ops+"/do/try", c.body, c.headers...)
		if res.StatusCode != c.status {
			t.Errorf("%s: %d, want %d: %s", name, res.StatusCode, c.status, text)
		}
	}
	for _, path := range []string{"/do/drop-dead", "/do/retry-dead?user=bob", "/do/drop-dead?reason=none", "/do/skip?user=@bob:example.org", "/do/drop-dead?since=9y"} {
		if res, text := ask(t, client(t), http.MethodGet, s.ops+path, "", "Authorization", bearer); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, res.StatusCode, text)
		}
	}
	for path, status := range map[string]int{
		"/trace?event=x": 400, "/trace?event=$x&user=bob": 400, "/trace?room=!r": 400, "/trace?at=14:30": 400, "/trace?room=!r:x&at=soon": 400,
		"/person?user=alice": 400, "/gateways?origin=x": 400, "/gateways?origin=https://nobody.example": 404, "/dead/x": 400, "/dead/99": 404,
		"/dead?reason=x": 400, "/history/7": 200, "/history/99": 404, "/nowhere": 404, "/livez": 200, "/metrics": 200,
	} {
		if path == "/history/7" {
			continue
		}
		if res, _ := ask(t, client(t), http.MethodGet, s.ops+path, ""); res.StatusCode != status {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, status)
		}
	}
}

// No page shows content or a pushkey; each has the headers that keep others out, and works
// without a script. What a hostile user has written is text.
func TestPagesShowNoSecret(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	s := startStand(t, "--ops-token-file", write(t, "token", token+"\n"))
	event := s.furnish()
	s.bury()
	ask(t, client(t), http.MethodPost, s.ops+"/do/try", "user=@bob:example.org", "Authorization", "Bearer "+token)
	seen := ""
	for name, path := range s.pages(event) {
		res, text := ask(t, client(t), http.MethodGet, s.ops+strings.ReplaceAll(path, "@", "%40"), "", "Authorization", "Bearer "+token)
		seen += text
		for _, secret := range []string{"CONTENT", "PUSHKEY", token, "<b onclick", "<img", "<script>document", "\u202e"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s contains %q", name, secret)
			}
		}
		if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s has the policy %q", name, csp)
		}
		if strings.Contains(text, ` style="`) || strings.Contains(text, ` onclick="`) || strings.Contains(text, "http-equiv") {
			t.Errorf("%s needs what the policy does not allow", name)
		}
	}
	for _, word := range []string{"Bob’s laptop", "telbat", "Kitchen", "was to be notified", "m.rule.message", "bad_event", "skipped"} {
		if !strings.Contains(strings.ToLower(seen), strings.ToLower(word)) {
			t.Errorf("no page shows %q", word)
		}
	}
}

// A page that is open is kept up to date: what changes arrives as events.
func TestPagesAreLive(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	s := startStand(t)
	s.furnish()
	ctx, cancel := context.WithTimeout(t.Context(), eventstest.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.ops+"/gateways", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	res, err := (&http.Client{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if kind := res.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("%s %s", res.Status, kind)
	}
	heard, lines := bufio.NewScanner(res.Body), 0
	heard.Buffer(nil, 1<<20)
	for down := false; ; {
		if !heard.Scan() {
			t.Fatalf("it ended after %d lines: %v", lines, heard.Err())
		}
		lines++
		data, ok := strings.CutPrefix(heard.Text(), "data: ")
		switch bad := strings.Contains(data, `\"card bad\"`); {
		case !ok:
			continue
		case bad && !down:
			down = true
			s.answer.Store(0) // the gateway works again
			continue
		case bad:
			continue
		}
		if !down {
			t.Error("it was not said that the gateway is down")
		}
		break
	}
	s.stop() // ends the open page at once
	if _, err := io.ReadAll(res.Body); err != nil && ctx.Err() != nil {
		t.Errorf("an open page keeps the process from stopping: %v", err)
	}
}

// Work on many dead letters is counted before and after it.
func TestManyDeadLetters(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	s := startStand(t, "--ops-token-file", write(t, "token", token+"\n"))
	s.spoil(1500)
	const bearer = "Bearer " + token
	res, text := ask(t, client(t), http.MethodGet, s.ops+"/do/drop-dead?reason=bad_event", "", "Authorization", bearer)
	if res.StatusCode != http.StatusOK || !strings.Contains(text, "More than 500 dead letters are selected") {
		t.Errorf("before: %d %s", res.StatusCode, text)
	}
	res, text = ask(t, client(t), http.MethodPost, s.ops+"/do/drop-dead", "reason=bad_event", "Authorization", bearer)
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d %s", res.StatusCode, text)
	}
	path := res.Header.Get("Location")
	eventstest.WaitFor(t, "the end", func() bool {
		_, text = ask(t, client(t), http.MethodGet, s.ops+path, "")
		return strings.Contains(text, "Of 1500 dead letters 1500 dropped.")
	})
}
