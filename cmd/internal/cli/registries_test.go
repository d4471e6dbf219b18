package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"poked/cmd/internal/node"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
	"poked/events/wait"
	"poked/registry/database/pgserver"
)

// registries is a deployment of two registries in processes of their own, on PostgreSQL with
// a synchronous standby, and clients that never stop.
//
//	clients ──▶ registry A, registry B ──▶ primary ──▶ standby
//	                      └──▶ NATS ──▶ watcher
type registries struct {
	t                *testing.T
	tokens, database string
	natsDir, natsAt  string
	nats             *node.EmbeddedNATS
	addrs            [2]string
	processes        [2]*exec.Cmd

	mu      sync.Mutex
	retries int           // requests that were repeated
	longest time.Duration // from the first try of a change to its 200
	sets    int           // changes that were answered with 200
}

const registryClients = 8

func startRegistries(t *testing.T, database string) *registries {
	t.Helper()
	var tokens strings.Builder
	for n := range registryClients {
		_, _ = fmt.Fprintf(&tokens, "token-%d @user-%d:x DEVICE\n", n, n)
	}
	r := &registries{t: t, tokens: writeFile(t, "tokens", tokens.String()), database: database, natsDir: t.TempDir(), natsAt: freeAddr(t)}
	r.startNATS()
	t.Cleanup(func() { r.nats.Stop() })
	for n := range r.addrs {
		r.addrs[n] = freeAddr(t)
		r.startRegistry(n)
	}
	t.Cleanup(func() {
		for _, p := range r.processes {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	return r
}

func (r *registries) startNATS() {
	r.t.Helper()
	var sync node.FsyncFlag
	if err := sync.UnmarshalText([]byte("1s")); err != nil {
		r.t.Fatal(err)
	}
	var err error
	if r.nats, err = node.StartNATS(node.NATSOptions{Dir: r.natsDir, Listen: r.natsAt, Sync: sync, Log: discardLog()}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *registries) startRegistry(n int) {
	r.t.Helper()
	r.processes[n], _ = startProgram(r.t, "registry", "--nats", "nats://"+r.natsAt, "--database", r.database, "--tokens", r.tokens,
		"--http", r.addrs[n], "--ops", "127.0.0.1:0", "--user-rate", "10000", "--user-burst", "10000", "--partitions", "4",
		"--gateway-allow", "127.0.0.1", "--gateway-allow-http")
}

func (r *registries) signal(n int, s syscall.Signal) {
	if err := r.processes[n].Process.Signal(s); err != nil {
		r.t.Error(err)
	}
}

// kill kills a registry without warning.
func (r *registries) kill(n int) {
	r.signal(n, syscall.SIGKILL)
	_ = r.processes[n].Wait()
}

// send sends a request to a registry and returns the status, 0 for none, and the answer.
func (r *registries) send(ctx context.Context, registry, user int, method, path, body string) (int, []byte) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.addrs[registry]+"/_matrix/client/v3/"+path, strings.NewReader(body))
	if err != nil {
		return 0, nil
	}
	req.Header.Set("Authorization", "Bearer token-"+strconv.Itoa(user))
	res, err := registryClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil
	}
	return res.StatusCode, answer
}

var registryClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: registryClients}}

// change repeats a request, at the other registry each time, until it is answered with one of
// the statuses.
func (r *registries) change(ctx context.Context, registry, user int, method, path, body string, done ...int) bool {
	began := time.Now()
	for try := 0; ; try++ {
		status, answer := r.send(ctx, (registry+try)%2, user, method, path, body)
		if slices.Contains(done, status) {
			r.note(1, 0, time.Since(began))
			return true
		}
		if status != 0 && status != http.StatusServiceUnavailable {
			r.t.Errorf("%s %s: %d %s", method, path, status, answer)
			return false
		}
		r.note(0, 1, 0)
		if wait.For(ctx, 100*time.Millisecond) != nil {
			return false
		}
	}
}

// note counts changes and repeated requests.
func (r *registries) note(sets, retries int, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sets += sets
	r.retries += retries
	r.longest = max(r.longest, took)
}

// client changes the pushers and rules of one user until faults is done, and returns what the
// last answers leave: numbers by pushkey and by rule.
func (r *registries) client(ctx context.Context, faults <-chan struct{}, user int) map[string]int {
	rng := rand.New(rand.NewPCG(uint64(user), 1))
	left := map[string]int{}
	for n := 1; ; n++ {
		select {
		case <-faults:
			return left
		default:
		}
		registry, key := rng.IntN(2), strconv.Itoa(rng.IntN(3))
		switch op := rng.IntN(10); {
		case op < 5:
			if r.change(ctx, registry, user, http.MethodPost, "pushers/set", registryPusher(user, key, n), http.StatusOK) {
				left["pusher "+key] = n
			}
		case op < 7:
			body := fmt.Sprintf(`{"kind":null,"app_id":"org.example.app","pushkey":"%d-%s"}`, user, key)
			if r.change(ctx, registry, user, http.MethodPost, "pushers/set", body, http.StatusOK) {
				delete(left, "pusher "+key)
			}
		case op < 9:
			if r.change(ctx, registry, user, http.MethodPut, "pushrules/global/content/"+key, fmt.Sprintf(`{"pattern":"%d","actions":[]}`, n), http.StatusOK) {
				left["rule "+key] = n
			}
		default: // a repeated deletion finds nothing
			if r.change(ctx, registry, user, http.MethodDelete, "pushrules/global/content/"+key, "", http.StatusOK, http.StatusNotFound) {
				delete(left, "rule "+key)
			}
		}
	}
}

func registryPusher(user int, key string, n int) string {
	return fmt.Sprintf(`{"kind":"http","app_id":"org.example.app","pushkey":"%d-%s","app_display_name":"App","append":true,
		"device_display_name":"Phone","lang":"%d","data":{"url":"http://127.0.0.1/_matrix/push/v1/notify"}}`, user, key, n)
}

// shown returns what a registry answers about a user, in the form of client.
func (r *registries) shown(registry, user int) map[string]int {
	r.t.Helper()
	left := map[string]int{}
	var pushers struct {
		Pushers []struct{ Pushkey, Lang string }
	}
	var rules struct {
		Global struct {
			Content []struct {
				RuleID  string `json:"rule_id"`
				Pattern string
			}
		}
	}
	for path, into := range map[string]any{"pushers": &pushers, "pushrules/": &rules} {
		status, answer := r.send(r.t.Context(), registry, user, http.MethodGet, path, "")
		if err := json.Unmarshal(answer, into); status != http.StatusOK || err != nil {
			r.t.Fatalf("get %s: %d %v", path, status, err)
		}
	}
	for _, p := range pushers.Pushers {
		_, key, _ := strings.Cut(p.Pushkey, "-")
		left["pusher "+key], _ = strconv.Atoi(p.Lang)
	}
	for _, rule := range rules.Global.Content {
		if !strings.HasPrefix(rule.RuleID, ".") {
			left["rule "+rule.RuleID], _ = strconv.Atoi(rule.Pattern)
		}
	}
	return left
}

// published returns what NATS holds about a user, in the same form.
func published(t *testing.T, conn *stream.Conn) map[events.UserID]map[string]int {
	t.Helper()
	all := map[events.UserID]map[string]int{}
	of := func(user events.UserID) map[string]int {
		if all[user] == nil {
			all[user] = map[string]int{}
		}
		return all[user]
	}
	for set, err := range conn.AllPushers(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range set.Pushers {
			_, key, _ := strings.Cut(p.Pushkey, "-")
			of(set.UserID)["pusher "+key], _ = strconv.Atoi(p.Lang)
		}
	}
	for rules, err := range conn.AllPushRules(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range rules.Changes.Content {
			of(rules.UserID)["rule "+rule.ID], _ = strconv.Atoi(*rule.Pattern)
		}
	}
	return all
}

// watchOrder checks until ctx ends that no version and no pusher in NATS is followed by an
// older one.
func watchOrder(ctx context.Context, t *testing.T, conn *stream.Conn) {
	versions, numbers := map[events.UserID]int64{}, map[string]int{}
	for ctx.Err() == nil {
		_ = conn.WatchPushers(ctx, func(set events.UserPushers) {
			if set.Version == 0 {
				return // deleted
			}
			if set.Version < versions[set.UserID] {
				t.Errorf("version %d of %s after %d", set.Version, set.UserID, versions[set.UserID])
			}
			versions[set.UserID] = set.Version
			for _, p := range set.Pushers {
				n, _ := strconv.Atoi(p.Lang)
				if n < numbers[p.Pushkey] {
					t.Errorf("pusher %s number %d after %d", p.Pushkey, n, numbers[p.Pushkey])
				}
				numbers[p.Pushkey] = n
			}
		}, func() {}) // it ends when NATS is away
		_ = wait.For(ctx, 50*time.Millisecond) // the loop checks ctx
	}
}

// TestG11RegistriesThroughFaults runs two registries under load while each is killed and
// paused, PostgreSQL is restarted and fails over to its standby, and NATS is away. Every
// change that was answered with 200 is in the database and reaches NATS, nothing reaches it
// out of order, and clients only have to try again.
func TestG11RegistriesThroughFaults(t *testing.T) {
	eventstest.Soak(t)
	primary, _ := startPostgres(t)
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Stop() })
	if err := primary.Exec(t.Context(), "postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'"); err != nil {
		t.Fatal(err)
	}
	if err := primary.Exec(t.Context(), "postgres", "SELECT pg_reload_conf()"); err != nil {
		t.Fatal(err)
	}
	r := startRegistries(t, pgserver.URL("poked", primary.Host(), standby.Host()))
	conn, err := stream.Connect(t.Context(), stream.Config{URL: "nats://" + r.natsAt, Name: "watcher", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	watching, stop := context.WithCancel(t.Context())
	var watcher, clients sync.WaitGroup
	watcher.Go(func() { watchOrder(watching, t, conn) })
	faults := make(chan struct{})
	left := make([]map[string]int, registryClients)
	for user := range registryClients {
		clients.Go(func() { left[user] = r.client(t.Context(), faults, user) })
	}
	r.breakAll(primary, standby)
	close(faults)
	clients.Wait()
	t.Logf("%d changes, %d repeated requests, the longest change took %s", r.sets, r.retries, r.longest)
	if r.sets < 500 || r.longest > 20*time.Second {
		t.Errorf("%d changes, the longest took %s", r.sets, r.longest)
	}
	eventstest.WaitFor(t, "NATS to hold the last changes", func() bool {
		all := published(t, conn)
		for user, want := range left {
			if got := all[events.UserID(fmt.Sprintf("@user-%d:x", user))]; fmt.Sprint(got) != fmt.Sprint(want) {
				return false
			}
		}
		return true
	})
	for user, want := range left {
		for registry := range r.addrs {
			if got := r.shown(registry, user); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("registry %d has %v of user %d, want %v", registry, got, user, want)
			}
		}
	}
	stop()
	watcher.Wait()
}

// breakAll causes one fault after the other, with a moment of quiet after each.
func (r *registries) breakAll(primary, standby *pgserver.Server) {
	ctx := r.t.Context()
	quiet := func() { _ = wait.For(ctx, time.Second) }
	for n := range r.processes {
		quiet()
		r.kill(n)
		r.startRegistry(n)
		quiet()
		r.signal(n, syscall.SIGSTOP)
		_ = wait.For(ctx, 6*time.Second)
		r.signal(n, syscall.SIGCONT)
	}
	quiet()
	r.nats.Stop()
	quiet()
	r.kill(0) // what it has not published is left to the other
	_ = wait.For(ctx, time.Second)
	r.startNATS()
	quiet()
	r.startRegistry(0)
	quiet()
	primary.Kill()
	_ = wait.For(ctx, time.Second)
	if err := primary.Restart(ctx); err != nil {
		r.t.Fatal(err)
	}
	_ = wait.For(ctx, 2*time.Second)
	primary.Kill()
	if err := standby.Promote(ctx); err != nil {
		r.t.Fatal(err)
	}
	_ = wait.For(ctx, 3*time.Second)
}

// TestRegistriesBehindNginx runs nginx with the example configuration before two registries.
// Clients are answered, at the first try, while either is dead or hangs.
func TestRegistriesBehindNginx(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	_, database := startPostgres(t)
	r, addr := startRegistries(t, database), freeAddr(t)
	runNginx(t, addr, strings.NewReplacer("listen 8730;", "listen "+addr+";", "registry:8720", r.addrs[0], "registry2:8720", r.addrs[1],
		"proxy_read_timeout 10s", "proxy_read_timeout "+proxyPatience.String()).Replace(readExample(t, "registries.conf")))
	client := proxied{t: t, url: "http://" + addr}
	n := 0
	use := func(when string) {
		t.Helper()
		for range 4 {
			n++
			client.ask(http.MethodPost, "v3/pushers/set", "token-0", registryPusher(0, "a", n))
			client.ask(http.MethodPut, "v3/pushrules/global/content/a%3Fb", "token-0", fmt.Sprintf(`{"pattern":"%d","actions":[]}`, n))
			var got struct {
				Pushers []struct{ Lang string }
			}
			if err := json.Unmarshal([]byte(client.ask(http.MethodGet, "v3/pushers", "token-0", "")), &got); err != nil || len(got.Pushers) != 1 || got.Pushers[0].Lang != strconv.Itoa(n) {
				t.Errorf("%s: the pushers are %+v, want number %d (%v)", when, got, n, err)
			}
			if rule := client.ask(http.MethodGet, "v3/pushrules/global/content/a%3Fb", "token-0", ""); !strings.Contains(rule, `"a?b"`) {
				t.Errorf("%s: the rule is %s", when, rule)
			}
		}
	}
	use("both work")
	for registry := range r.processes {
		r.signal(registry, syscall.SIGSTOP)
		use("one hangs")
		r.signal(registry, syscall.SIGCONT)
		r.kill(registry)
		use("one is dead")
		r.startRegistry(registry)
	}
	use("both work again")
}
