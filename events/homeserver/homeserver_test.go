package homeserver_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/homeserver"
)

const alice = events.UserID("@alice:example.org")

func client(t *testing.T, url string) *homeserver.Client {
	t.Helper()
	c, err := homeserver.New(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestURLs(t *testing.T) {
	for url, good := range map[string]bool{
		"http://127.0.0.1:8008": true, "https://matrix.example.org": true, "https://matrix.example.org/": true, "http://[::1]:8008": true,
		"": false, "matrix.example.org": false, "ftp://a": false, "http://": false, "http://:8008": false,
		"http://user:CANARY@a": false, "http://a/_matrix": false, "http://a?b": false, "http://a#b": false, "http://CANARY\x00": false,
	} {
		_, err := homeserver.New(url)
		if (err == nil) != good || err != nil && strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// Every answer has one kind, and only an error of the homeserver itself means that a
// token is unknown or a device was deleted.
func TestKindsOfErrors(t *testing.T) {
	hs := eventstest.StartHomeserver(t)
	c := client(t, hs.URL)
	const matrix = `{"errcode":%q,"error":"CANARY"}`
	for _, tt := range []struct {
		status int
		body   string
		kind   error
	}{
		{401, fmt.Sprintf(matrix, "M_UNKNOWN_TOKEN"), homeserver.ErrUnknownToken},
		{401, fmt.Sprintf(matrix, "M_MISSING_TOKEN"), homeserver.ErrUnknownToken},
		{401, fmt.Sprintf(matrix, "M_USER_LOCKED"), homeserver.ErrRefused},
		{403, fmt.Sprintf(matrix, "M_FORBIDDEN"), homeserver.ErrRefused},
		{404, fmt.Sprintf(matrix, "ORG.EXAMPLE.OWN_2"), homeserver.ErrRefused},
		{401, "CANARY", homeserver.ErrCannotTell},
		{401, `{"errcode":"CANARY WITH A BLANK"}`, homeserver.ErrCannotTell},
		{404, `{"errcode":404}`, homeserver.ErrCannotTell},
		{404, `<html>CANARY`, homeserver.ErrCannotTell},
		{302, fmt.Sprintf(matrix, "M_UNKNOWN_TOKEN"), homeserver.ErrCannotTell},
		{429, fmt.Sprintf(matrix, "M_LIMIT_EXCEEDED"), homeserver.ErrCannotTell},
		{500, fmt.Sprintf(matrix, "M_UNKNOWN_TOKEN"), homeserver.ErrCannotTell},
		{200, "CANARY", homeserver.ErrCannotTell},
		{200, strings.Repeat("CANARY", 1<<20), homeserver.ErrCannotTell},
	} {
		hs.Instead(func(*http.Request) (eventstest.Reply, bool) {
			return eventstest.Reply{Status: tt.status, Body: tt.body}, true
		})
		_, err := c.Whoami(t.Context(), "TOKEN")
		if !errors.Is(err, tt.kind) || strings.Contains(err.Error(), "CANARY") || strings.Contains(err.Error(), "TOKEN\"") {
			t.Errorf("%d %.40s: %v, want %v", tt.status, tt.body, err, tt.kind)
		}
		there, err := c.Service(eventstest.ASToken).Account(alice).HasDevice(t.Context(), "PHONE")
		if !there && err == nil {
			t.Errorf("%d %.40s: the device counts as deleted", tt.status, tt.body)
		}
	}
}

func TestHomeserverAway(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	c := client(t, server.URL)
	server.Close()
	_, err := c.Whoami(t.Context(), "TOKEN")
	if !errors.Is(err, homeserver.ErrCannotTell) || strings.Contains(err.Error(), "TOKEN") {
		t.Errorf("whoami: %v", err)
	}
	if _, err := c.Service("TOKEN").JoinedRooms(t.Context(), alice); !errors.Is(err, homeserver.ErrCannotTell) || strings.Contains(err.Error(), "alice") {
		t.Errorf("joined rooms: %v", err)
	}
}

// A token is sent only to the homeserver, never to the target of a redirect.
func TestRedirectsAreNotFollowed(t *testing.T) {
	asked := make(chan string, 1)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Header.Get("Authorization") }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	if _, err := client(t, server.URL).Whoami(t.Context(), "TOKEN"); !errors.Is(err, homeserver.ErrCannotTell) {
		t.Errorf("%v", err)
	}
	select {
	case token := <-asked:
		t.Errorf("another server received %q", token)
	default:
	}
}

// A state that breaks off is an error.
func TestRoomState(t *testing.T) {
	hs := eventstest.StartHomeserver(t)
	service := client(t, hs.URL).Service(eventstest.ASToken)
	read := func() (n int, err error) {
		for _, err := range service.RoomState(t.Context(), "!r/1?:example.org", alice) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	if _, err := read(); !errors.Is(err, homeserver.ErrRefused) || !homeserver.IsErrcode(err, "M_FORBIDDEN") {
		t.Errorf("a room that alice is not in: %v", err)
	}
	member := `{"type":"m.room.member","state_key":"@alice:example.org","content":{"membership":"join"}}`
	hs.SetState("!r/1?:example.org", []byte(member), []byte(`{}`))
	if n, err := read(); n != 2 || err != nil {
		t.Errorf("%d events, %v", n, err)
	}
	if want := "GET /_matrix/client/v3/rooms/%21r%2F1%3F:example.org/state?user_id=%40alice%3Aexample.org"; len(hs.Hits(want)) != 2 {
		t.Errorf("requests %v, want %s", hs.Hits(""), want)
	}
	for _, body := range []string{"", "{}", "[", "[{},", "[{}", `[{}}`, "<html>"} {
		hs.Instead(func(*http.Request) (eventstest.Reply, bool) { return eventstest.Reply{Status: 200, Body: body}, true })
		if _, err := read(); !errors.Is(err, homeserver.ErrCannotTell) {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// A request is forwarded unchanged, except for hop-by-hop headers.
func TestForward(t *testing.T) {
	var seen *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"errcode":"M_LIMIT_EXCEEDED"}`)
	}))
	defer server.Close()
	r := httptest.NewRequest(http.MethodPut, "/ignored?before=a%2Fb", nil)
	r.Header.Set("Authorization", "Bearer TOKEN")
	r.Header.Set("X-Forwarded-For", "192.0.2.7")
	r.Header.Set("Connection", "close")
	r.Header.Set("Cookie", "c=1")
	answer, err := client(t, server.URL).Forward(t.Context(), r, "/path/a%2Fb", []byte("body"))
	if err != nil || answer.Status != 429 || answer.Errcode() != "M_LIMIT_EXCEEDED" || answer.Header.Get("Retry-After") != "7" {
		t.Fatalf("%+v, %v", answer, err)
	}
	if seen.Method != "PUT" || seen.RequestURI != "/path/a%2Fb?before=a%2Fb" || string(body) != "body" ||
		seen.Header.Get("Authorization") != "Bearer TOKEN" || seen.Header.Get("Cookie") != "" ||
		seen.Header.Get("X-Forwarded-For") != "192.0.2.7, 192.0.2.1" {
		t.Errorf("%s %s, %v, %q", seen.Method, seen.RequestURI, seen.Header, body)
	}
}
