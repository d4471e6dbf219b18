package registry

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// between is a proxy between a registry and its homeserver that can hold answers back.
type between struct {
	mu   sync.Mutex
	hold func(*http.Request) bool
	held chan struct{} // receives one value for each answer that is held back
	let  chan struct{} // closed to release them
}

// newHeldHouse opens a registry whose homeserver is behind such a proxy.
func newHeldHouse(t *testing.T) (*house, *eventstest.Homeserver, *between) {
	t.Helper()
	b := &between{hold: func(*http.Request) bool { return false }, held: make(chan struct{}, 1000), let: make(chan struct{})}
	web := httptest.NewUnstartedServer(nil)
	t.Cleanup(web.Close)
	web.Start()
	h, hs := newHomeserverHouse(t)
	target, err := url.Parse(hs.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(res *http.Response) error {
		b.mu.Lock()
		hold := b.hold(res.Request)
		b.mu.Unlock()
		if hold {
			b.held <- struct{}{}
			<-b.let
		}
		return nil
	}
	web.Config.Handler = proxy
	h.close()
	h.cfg.Homeserver.URL = web.URL
	h.open()
	return h, hs, b
}

// holdBack holds the answers to some requests back. release lets them pass.
func (b *between) holdBack(which func(*http.Request) bool) (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hold = which
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.hold = func(*http.Request) bool { return false }
		close(b.let)
	}
}

func byToken(r *http.Request, path, token string) bool {
	return strings.HasSuffix(r.URL.Path, path) && strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "+token)
}

// If a device is logged out while a request of it is in progress, the homeserver's
// earlier answer about its token is not used, and nothing is stored for it.
func TestALogoutOvertakesARequest(t *testing.T) {
	set := [...]string{http.MethodPost, prefixV3 + "/pushers/set"}
	for path, request := range map[string][2]string{
		"/account/whoami": {http.MethodGet, prefixV3 + "/pushers"}, "/pushrules/": set, "/account_data/m.ignored_user_list": set,
	} {
		t.Run(path, func(t *testing.T) {
			h, _, b := newHeldHouse(t)
			release := b.holdBack(func(r *http.Request) bool { return byToken(r, path, "alice-phone") })
			status := make(chan int, 1)
			go func() {
				code, _, _ := h.request(request[0], request[1], "alice-phone", encode(t, body()))
				status <- code
			}()
			<-b.held
			if code, e := h.change(http.MethodPost, prefixV3+"/account/deactivate", "alice-laptop", "{}"); code != 200 {
				t.Fatalf("deactivate: %d %+v", code, e)
			}
			release()
			if code := <-status; code != http.StatusUnauthorized {
				t.Errorf("the request in progress: %d", code)
			}
			if code, _, _ := h.request(http.MethodGet, prefixV3+"/pushers", "alice-phone", ""); code != http.StatusUnauthorized {
				t.Errorf("the next request: %d", code)
			}
			if n := len(h.database()); n != 0 {
				t.Errorf("%d users have pushers", n)
			}
			if n := h.count("account_data"); n != 0 {
				t.Errorf("%d users have account data", n)
			}
		})
	}
}

// A device that was not logged out with the others stays valid.
func TestAPasswordChangeOvertakesARequest(t *testing.T) {
	eventstest.Long(t)
	h, _, b := newHeldHouse(t)
	release := b.holdBack(func(r *http.Request) bool { return byToken(r, "/pushrules/", "alice-phone") })
	status := make(chan int, 1)
	go func() {
		code, _ := h.try(prefixV3+"/pushers/set", "alice-phone", encode(t, body()))
		status <- code
	}()
	<-b.held
	if code, e := h.change(http.MethodPost, prefixV3+"/account/password", "alice-phone", "{}"); code != 200 {
		t.Fatalf("password: %d %+v", code, e)
	}
	release()
	if code := <-status; code != http.StatusTooManyRequests {
		t.Errorf("the request in progress: %d", code)
	}
	h.set("alice-phone", body())
	if code, _ := h.try(prefixV3+"/pushers/set", "alice-laptop", encode(t, body())); code != http.StatusUnauthorized {
		t.Errorf("the other device: %d", code)
	}
}

// A logout that the homeserver publishes invalidates a cached token.
func TestAPublishedLogoutEndsTheToken(t *testing.T) {
	for _, kind := range []string{"logout", "deactivated"} {
		t.Run(kind, func(t *testing.T) {
			h, hs := newHomeserverHouse(t)
			h.set("alice-phone", body())
			hs.RemoveToken("alice-phone")
			if err := h.reg.accountChanged(t.Context(), events.AccountChange{Kind: kind, UserID: alice}); err != nil {
				t.Fatal(err)
			}
			if code, _, _ := h.request(http.MethodGet, prefixV3+"/pushers", "alice-phone", ""); code != http.StatusUnauthorized {
				t.Errorf("%d", code)
			}
			if n := len(h.database()); n != 0 {
				t.Errorf("%d users have pushers", n)
			}
		})
	}
}

// However many requests have unknown tokens, requests with known ones reach the
// homeserver.
func TestStrangersKeepNobodyOut(t *testing.T) {
	eventstest.Long(t)
	h, hs, b := newHeldHouse(t)
	h.close()
	h.cfg.TokenCache = time.Second
	h.open()
	h.set("alice-phone", body())
	release := b.holdBack(func(r *http.Request) bool { return strings.HasPrefix(r.Header.Get("Authorization"), "Bearer stranger") })
	var strangers sync.WaitGroup
	for i := range 16 {
		strangers.Go(func() {
			path := prefixV3 + "/pushers/set"
			if i%2 == 0 {
				path = prefixV3 + "/logout" // a forwarded request
			}
			// On a slow machine it may be held for longer than the registry waits for an answer.
			if code, e := h.try(path, fmt.Sprint("stranger", i), "{}"); code != http.StatusUnauthorized && code != http.StatusBadGateway {
				t.Errorf("a request with an unknown token: %d %+v", code, e)
			}
		})
	}
	for range 16 {
		<-b.held
	}
	for _, path := range []string{"/pushers/set", "/logout"} {
		status, header, _ := h.request(http.MethodPost, prefixV3+path, "another", "{}")
		if status != http.StatusTooManyRequests || header.Get("Retry-After") != "1" {
			t.Errorf("one more request with an unknown token at %s: %d %v", path, status, header)
		}
	}
	asked := len(hs.Hits(whoami))
	h.waitFor("a token that is no longer cached", func() bool {
		h.set("alice-phone", body())
		return len(hs.Hits(whoami)) > asked
	})
	release()
	strangers.Wait()
}
