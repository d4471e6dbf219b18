package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/pushgateway"
	"poked/registry/store"
)

// onServer makes a house use a PostgreSQL database.
func onServer(t *testing.T) func(*Config) {
	t.Helper()
	address := postgres.database(t)
	return func(c *Config) { c.Database = address }
}

// second opens another registry on the same database and NATS.
func (h *house) second() *house {
	h.t.Helper()
	policy, err := pushgateway.NewPolicy([]string{"127.0.0.1"}, nil, true)
	if err != nil {
		h.t.Fatal(err)
	}
	other := *h
	other.log, other.conn = &eventstest.LogBuffer{}, h.nats.Connect(natstest.Topology())
	if other.reg, err = Open(h.t.Context(), h.cfg, policy, other.conn, slog.New(slog.NewTextHandler(other.log, nil))); err != nil {
		h.t.Fatal(err)
	}
	reg, web := other.reg, httptest.NewServer(other.reg.Handler())
	other.web = web
	h.t.Cleanup(func() { web.Close(); _ = reg.Close() })
	return &other
}

// TestG11TwoRegistriesPublishInOrder changes the pushers and rules of the same users through
// two registries at once. The versions in NATS only grow, and in the end it holds what the
// database holds.
func TestG11TwoRegistriesPublishInOrder(t *testing.T) {
	a := newHouse(t, onServer(t))
	b := a.second()
	a.run()
	b.run()
	watching, stop := context.WithCancel(t.Context())
	var watcher sync.WaitGroup
	watcher.Go(func() {
		newest := map[events.UserID]int64{}
		_ = a.conn.WatchPushers(watching, func(set events.UserPushers) {
			if set.Version != 0 && set.Version < newest[set.UserID] {
				t.Errorf("version %d of %s after %d", set.Version, set.UserID, newest[set.UserID])
			}
			newest[set.UserID] = max(newest[set.UserID], set.Version)
		}, func() {})
	})
	var clients sync.WaitGroup
	for n, h := range []*house{a, b, a, b} {
		clients.Go(func() {
			for i := range 15 {
				for _, token := range []string{"alice-phone", "bob-phone"} {
					h.set(token, body(keys{"pushkey": fmt.Sprint(token, i%3), "lang": fmt.Sprint(n, i)}))
					if i%4 == 3 {
						h.set(token, body(keys{"pushkey": fmt.Sprint(token, i%3), "kind": null}))
					}
				}
				h.change(http.MethodPut, pushRules+fmt.Sprintf("global/room/r%d", i%5), "alice-phone", firstRule)
			}
		})
	}
	clients.Wait()
	a.waitSettled()
	stop()
	watcher.Wait()
}

// TestG11ARegistryPublishesWhatAnotherLeft stops a registry between the commit and NATS.
func TestG11ARegistryPublishesWhatAnotherLeft(t *testing.T) {
	a := newHouse(t, onServer(t))
	b := a.second()
	b.run()
	b.waitFor("the first comparison", func() bool { return b.reg.outbox.Settled() })
	a.set("alice-phone", body()) // nobody runs its outbox
	a.waitSettled()
	if len(a.bucket()) != 1 {
		t.Error("nothing was published")
	}
}

// TestOnePushkeyForTwoUsers sets one pushkey for two users at the same time, each without
// append: one of them has it in the end.
func TestOnePushkeyForTwoUsers(t *testing.T) {
	a := newHouse(t, onServer(t))
	b := a.second()
	for range 20 {
		var both sync.WaitGroup
		both.Go(func() { a.set("alice-phone", body()) })
		both.Go(func() { b.set("bob-phone", body()) })
		both.Wait()
		if n := a.count("pushers"); n != 1 {
			t.Fatalf("%d users have it", n)
		}
	}
}

// TestPusherLimitOfTwoRegistries sets more pushers than a user may have, through two
// registries at once.
func TestPusherLimitOfTwoRegistries(t *testing.T) {
	a := newHouse(t, onServer(t), func(c *Config) { c.MaxPushers = 5 })
	b := a.second()
	var clients sync.WaitGroup
	for i, h := range []*house{a, b, a, b, a, b, a, b, a, b} {
		clients.Go(func() { h.try(prefixV3+"/pushers/set", "alice-phone", encode(t, body(keys{"pushkey": fmt.Sprint(i)}))) })
	}
	clients.Wait()
	if n := a.count("pushers"); n != 5 {
		t.Errorf("%d pushers, want 5", n)
	}
}

// TestPositionsOfTwoRegistries adds rules of one kind through two registries at once: each
// has its own position.
func TestPositionsOfTwoRegistries(t *testing.T) {
	a := newHouse(t, onServer(t))
	b := a.second()
	var clients sync.WaitGroup
	for i, h := range []*house{a, b, a, b, a, b, a, b} {
		clients.Go(func() {
			for k := range 3 {
				for {
					status, e := h.change(http.MethodPut, pushRules+fmt.Sprintf("global/room/r%d-%d", i, k), "alice-phone", firstRule)
					if status == http.StatusOK {
						break
					}
					if status != http.StatusServiceUnavailable { // a server that is busy: a client tries again
						t.Errorf("%d %+v", status, e)
						break
					}
				}
			}
		})
	}
	clients.Wait()
	if n, different := a.count("push_rules"), a.count("(SELECT DISTINCT position FROM push_rules) AS p"); n != 24 || different != 24 {
		t.Errorf("%d rules with %d positions, want 24", n, different)
	}
}

// TestLogoutIsHeededByAllRegistries logs a device out through one registry. Another forgets
// its token within a second without being asked, and refuses it; and even before that it
// stores nothing for it.
func TestLogoutIsHeededByAllRegistries(t *testing.T) {
	a, _ := newHomeserverHouse(t, onServer(t))
	b := a.second()
	for _, h := range []*house{a, b} {
		h.set("alice-phone", body(keys{"pushkey": "one"}))
	}
	tokens := b.reg.api.upstream.tokens
	before, err := tokens.Lookup(t.Context(), "alice-phone")
	if err != nil {
		t.Fatal(err)
	}
	if status, _, _ := a.request(http.MethodPost, prefixV3+"/logout", "alice-phone", "{}"); status != http.StatusOK {
		t.Fatalf("logout: %d", status)
	}
	claimed := tokens.WithClaim(t.Context(), before) // as a request that began before
	if _, _, err := b.reg.store.SetPusher(claimed, alice, events.Pusher{AppID: "a", Pushkey: "two", Kind: "http", Data: []byte("{}")}, false); !errors.Is(err, store.ErrLoggedOut) {
		t.Errorf("a pusher was set after the logout: %v", err)
	}
	if n := a.count("pushers"); n != 0 {
		t.Errorf("%d pushers are left", n)
	}
	began := time.Now()
	b.run()
	b.waitFor("the token to be forgotten", func() bool { return tokens.Remembered() == 0 })
	if took := time.Since(began); took > 3*time.Second { // a second, and a slow machine
		t.Errorf("it took %s", took)
	}
	if status, _ := b.try(prefixV3+"/pushers/set", "alice-phone", "{}"); status != http.StatusUnauthorized {
		t.Errorf("the token is answered with %d", status)
	}
}

// TestRefusedTokenIsHeededByAllRegistries learns in one registry that the homeserver refuses
// a token.
func TestRefusedTokenIsHeededByAllRegistries(t *testing.T) {
	a, hs := newHomeserverHouse(t, onServer(t))
	b := a.second()
	a.run()
	b.run()
	for _, h := range []*house{a, b} {
		h.pushkeys("alice-phone")
	}
	hs.RemoveToken("alice-phone")
	a.request(http.MethodGet, pushRules, "alice-phone", "") // the homeserver is asked, and refuses
	b.waitFor("the token to be forgotten", func() bool { return b.reg.api.upstream.tokens.Remembered() == 0 })
}

// TestNothingRememberedIsUsedWithoutNotices cuts a registry off from the database: it asks
// the homeserver about every token.
func TestNothingRememberedIsUsedWithoutNotices(t *testing.T) {
	a, hs := newHomeserverHouse(t, onServer(t), func(c *Config) { c.TokenCache = 10 * time.Minute })
	a.pushkeys("alice-phone")
	if n := len(hs.Hits(whoami)); n != 1 {
		t.Fatalf("%d requests", n)
	}
	if err := a.reg.db.Close(); err != nil {
		t.Fatal(err)
	}
	a.waitFor("the notices to be old", func() bool {
		a.request(http.MethodGet, prefixV3+"/pushers", "alice-phone", "")
		return len(hs.Hits(whoami)) > 1
	})
	if n := len(hs.Hits(whoami)); n != 2 {
		t.Errorf("%d requests, want one more", n)
	}
}

// TestNoticesAreDeleted deletes old notices, and then takes nobody for logged in whose
// authentication is older than what is left.
func TestNoticesAreDeleted(t *testing.T) {
	a, _ := newHomeserverHouse(t, onServer(t))
	a.set("bob-phone", body())
	for _, device := range []string{"1", "2", "3"} {
		if _, err := a.reg.store.Logout(t.Context(), alice, device); err != nil {
			t.Fatal(err)
		}
	}
	a.exec(fmt.Sprintf("UPDATE notices SET noted_at = %d", time.Now().Add(-2*time.Hour).Unix()))
	if _, err := a.reg.store.Logout(t.Context(), alice, "4"); err != nil {
		t.Fatal(err)
	}
	if n := a.count("notices"); n != 1 {
		t.Errorf("%d notices are left", n)
	}
	if status, _ := a.try(prefixV3+"/pushers/set", "bob-phone", encode(t, body())); status != http.StatusTooManyRequests {
		t.Errorf("an authentication from before: %d", status)
	}
}

// TestAnOlderAccountChangeReplacesNoNewerOne delivers changes out of order, as NATS does
// after a failure or with two registries.
func TestAnOlderAccountChangeReplacesNoNewerOne(t *testing.T) {
	eachDatabase(t, func(t *testing.T, setDatabase func(*Config)) {
		h := newHouse(t, setDatabase)
		for _, c := range []struct {
			kind, ignored string
			log           int64
			seq           uint64
			want          string
		}{
			{"ignored_users", "@two:x", 1, 20, `["@two:x"]`},
			{"ignored_users", "@one:x", 1, 10, `["@two:x"]`},
			{"ignored_users", "@two:x", 1, 20, `["@two:x"]`}, // once more
			{"ignored_users", "@new:x", 2, 1, `["@new:x"]`},  // the stream was made anew
			{"deactivated", "", 2, 9, "null"},
			{"ignored_users", "@old:x", 2, 8, "null"},
		} {
			change := events.AccountChange{Kind: c.kind, UserID: alice, Seq: c.seq, Log: c.log, Content: []byte(`{"ignored_users":{"` + c.ignored + `":{}}}`)}
			if err := h.reg.accountChanged(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			rules, err := h.reg.store.PushRules(t.Context(), alice)
			if got := encode(t, rules.IgnoredUsers); err != nil || got != c.want {
				t.Errorf("after %s %d: %s (%v), want %s", c.kind, c.seq, got, err, c.want)
			}
		}
	})
}

// TestDevicesAreRecheckedByOneRegistry counts the requests of the quick round.
func TestDevicesAreRecheckedByOneRegistry(t *testing.T) {
	a, hs := newRegisteredHouse(t, onServer(t))
	a.setAll()
	b := a.second()
	a.run()
	b.run()
	seen := func() []string { return hs.Hits("GET " + prefixV3 + "/devices/") }
	a.waitFor("a round", func() bool { return len(seen()) >= 3 })
	var once []string
	for _, hit := range seen() {
		if !slices.Contains(once, hit) {
			once = append(once, hit)
		}
	}
	if len(once) != len(seen()) {
		t.Errorf("devices were checked twice: %q", seen())
	}
}

// TestPostgresStoresNoNUL refuses text that PostgreSQL cannot store, and stores nothing.
func TestPostgresStoresNoNUL(t *testing.T) {
	h := newHouse(t, onServer(t))
	for path, content := range map[string]string{
		prefixV3 + "/pushers/set": encode(t, body(keys{"pushkey": "a\x00b"})),
	} {
		if status, e := h.try(path, "alice-phone", content); status != http.StatusBadRequest || e.Errcode != "M_INVALID_PARAM" {
			t.Errorf("%s: %d %+v", path, status, e)
		}
	}
	if status, e := h.rule(http.MethodPut, "global/content/a?before=%00", `{"pattern":"x","actions":[]}`); status != http.StatusBadRequest {
		t.Errorf("before a rule with such a name: %d %+v", status, e)
	}
	if h.count("pushers")+h.count("push_rules") != 0 || h.reg.Unready() != "" && h.reg.store.Trouble().Why() != "" {
		t.Error("something was stored, or it counts as a fault of the database")
	}
}
