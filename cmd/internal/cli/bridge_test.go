package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"poked/events"
	"poked/events/bridge"
	"poked/events/eventstest"
	"poked/events/homeserver"
)

// writeRegistration writes a registration that the test's homeserver accepts.
func writeRegistration(t *testing.T) string {
	t.Helper()
	text, err := bridge.NewRegistration("example.org", "http://127.0.0.1:8721")
	if err != nil {
		t.Fatal(err)
	}
	return eventstest.WriteRegistration(t, text)
}

// homeserverOf returns a homeserver on which alice and bob already share a room.
func homeserverOf(t *testing.T) *eventstest.Homeserver {
	t.Helper()
	hs := eventstest.StartHomeserver(t)
	hs.AddToken("alice-token", "@alice:example.org", "PHONE")
	state := []json.RawMessage{json.RawMessage(
		`{"event_id":"$create","room_id":"!room:example.org","type":"m.room.create","state_key":"","sender":"@bob:example.org","content":{}}`)}
	for _, user := range []string{"alice", "bob"} {
		state = append(state, json.RawMessage(memberEvent(user)))
	}
	hs.SetState("!room:example.org", state...)
	return hs
}

// TestPokeArrives with a bridge: alice's token is checked at the homeserver, the room state
// is fetched, and bob's message arrives in a transaction, in one process and in three.
func TestPokeArrivesFromAnyHomeserver(t *testing.T) {
	eventstest.Long(t)
	for _, tt := range []struct {
		name  string
		start func(t *testing.T, hs, registration string) (deployment, string)
	}{
		{"serve", startServeWithBridge},
		{"a role a process", startRolesWithBridge},
		{"each with the rights of its role", startGuardedWithBridge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gateway, hs := startGateway(t), homeserverOf(t)
			d, bridgeURL := tt.start(t, hs.URL, writeRegistration(t))
			setPusher(t, d.http, gateway.url, "alice-pushkey")
			poked := false
			for n := 0; n < 300; n++ { // until the dispatcher knows the pusher
				said := fmt.Sprintf(`{"event_id":"$said-%d","room_id":"!room:example.org","type":"m.room.message","sender":"@bob:example.org",`+
					`"origin_server_ts":%d,"content":{"msgtype":"m.text","body":"hello alice"}}`, n, time.Now().UnixMilli())
				status, err := eventstest.PutTransaction(t.Context(), bridgeURL, fmt.Sprint(n), `{"events":[`+said+`]}`)
				if err != nil || status != http.StatusOK {
					t.Fatalf("transaction: %d, %v", status, err)
				}
				if p, ok := pokeWithin(gateway.pokes, 100*time.Millisecond); ok {
					checkPoke(t, p)
					poked = true
					break
				}
			}
			if !poked {
				t.Error("no poke arrives")
			}
			for _, p := range d.processes {
				p.terminate()
				if strings.Contains(strings.ToLower(p.log()), "permissions violation") {
					t.Errorf("a permission is missing: %s", p.log())
				}
				for _, secret := range []string{"alice-token", "alice-pushkey", "hello alice", eventstest.HSToken, eventstest.ASToken} {
					if strings.Contains(p.log(), secret) {
						t.Errorf("the log holds %q:\n%s", secret, p.log())
					}
				}
			}
		})
	}
}

func pokeWithin(pokes <-chan poke, d time.Duration) (poke, bool) {
	select {
	case p := <-pokes:
		return p, true
	case <-time.After(d):
		return poke{}, false
	}
}

func startServeWithBridge(t *testing.T, hs, registration string) (deployment, string) {
	p, where := start(t, "serve", "--data", filepath.Join(t.TempDir(), "data"), "--http", "127.0.0.1:0",
		"--homeserver", hs, "--registration", registration, "--bridge-http", "127.0.0.1:0",
		"--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", "2")
	return deployment{http: fmt.Sprintf("http://%s", where["http"]), processes: []*process{p}}, fmt.Sprintf("http://%s", where["bridge_http"])
}

func startRolesWithBridge(t *testing.T, hs, registration string) (deployment, string) {
	_, url := startTestNATS(t)
	return startBridged(t, func(string) string { return url }, hs, registration)
}

func startGuardedWithBridge(t *testing.T, hs, registration string) (deployment, string) {
	return startBridged(t, startGuarded(t).url, hs, registration)
}

// startBridged starts a process for each role; url returns the URL of NATS for it.
func startBridged(t *testing.T, url func(role string) string, hs, registration string) (deployment, string) {
	t.Helper()
	shared := []string{"--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", "2"}
	registry, where := start(t, append([]string{"registry", "--nats", url("registry"), "--http", "127.0.0.1:0",
		"--homeserver", hs, "--registration", registration, "--database", filepath.Join(t.TempDir(), "poked.db")}, shared...)...)
	dispatcher, _ := start(t, append([]string{"dispatcher", "--nats", url("dispatcher")}, shared...)...)
	bridge, at := start(t, "bridge", "--nats", url("bridge"), "--homeserver", hs, "--registration", registration, "--bridge-http", "127.0.0.1:0")
	return deployment{http: fmt.Sprintf("http://%s", where["http"]), processes: []*process{bridge, registry, dispatcher}},
		fmt.Sprintf("http://%s", at["bridge_http"])
}

// A bridge that starts first waits until the streams are set up.
func TestBridgeWaitsForStreams(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	_, url := startTestNATS(t)
	args := []string{"bridge", "--nats", url, "--homeserver", "http://127.0.0.1:1", "--registration", writeRegistration(t), "--bridge-http", "127.0.0.1:0"}
	ready := make(chan *process, 1)
	go func() {
		p, _ := start(t, args...)
		ready <- p
	}()
	dispatcher, _ := start(t, "dispatcher", "--nats", url, "--partitions", "2")
	(<-ready).terminate()
	dispatcher.terminate()
}

func TestBackfill(t *testing.T) {
	url, rooms := startStreams(t)
	hs := homeserverOf(t)
	hs.SetState("!secret:example.org") // without members
	args := []string{"bridge", "backfill", "--nats", url, "--homeserver", hs.URL, "--registration", writeRegistration(t),
		"--user", "@alice:example.org", "--user", "@bob:example.org", "--rate", "0", "--json"}
	for _, tt := range []struct {
		name  string
		extra []string
		want  string
	}{
		{"first", nil, `{"users":2,"rooms":1,"known":0,"fetched":1,"refused":0,"failed":0}`},
		{"second", nil, `{"users":2,"rooms":1,"known":1,"fetched":0,"refused":0,"failed":0}`},
		{"again", []string{"--again"}, `{"users":2,"rooms":1,"known":0,"fetched":1,"refused":0,"failed":0}`},
		{"one room", []string{"--room", "!room:example.org"}, `{"users":2,"rooms":1,"known":0,"fetched":1,"refused":0,"failed":0}`},
	} {
		got := poked(t, "", append(args, tt.extra...)...)
		if got.Code != ExitOK || strings.TrimSpace(got.Stdout) != tt.want {
			t.Errorf("%s: exit code %d, %s%s", tt.name, got.Code, got.Stdout, got.Stderr)
		}
	}
	if n := len(stored(t, rooms)); n != 9 {
		t.Errorf("%d events are stored, want 3 and twice 3 again", n)
	}
	if got := poked(t, "", append(args, "--room", "!secret:example.org")...); got.Code != ExitFailure || !strings.Contains(got.Stderr, "!secret:example.org: name one who is with --user") {
		t.Errorf("a room of nobody: exit code %d, %s", got.Code, got.Stderr)
	}
	hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
		return eventstest.Reply{Status: 500, Body: `{}`}, strings.HasSuffix(r.URL.Path, "/state")
	})
	got := poked(t, "", append(args, "--again")...)
	if got.Code != ExitFailure || !strings.Contains(got.Stderr, "run it again") || !strings.Contains(got.Stdout, `"failed":1`) {
		t.Errorf("with a homeserver that fails: exit code %d, %s%s", got.Code, got.Stdout, got.Stderr)
	}
}

// The registration is valid for the homeserver and for poked, and overwrites no file.
func TestRegistration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "poked.yaml")
	args := []string{"bridge", "registration", "--server-name", "example.org", "--url", "http://poked:8721/", "--out", path}
	if got := poked(t, "", args...); got.Code != ExitOK || got.Stdout != "" {
		t.Fatalf("exit code %d, %s%s", got.Code, got.Stdout, got.Stderr)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got := poked(t, "", args...); got.Code != ExitFailure || !strings.Contains(got.Stderr, "exists") {
		t.Errorf("again: exit code %d, %s", got.Code, got.Stderr)
	}
	reg, err := homeserver.ReadRegistration(path)
	if err != nil {
		t.Fatal(err)
	}
	for user, local := range map[string]bool{"@alice:example.org": true, "@alice:example.org.evil": false, "@alice:examplexorg": false, "@a:example.org:8448": false} {
		if reg.IsLocal(events.UserID(user)) != local {
			t.Errorf("%s is local: %v", user, !local)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"id": "poked", "url": "http://poked:8721", "sender_localpart": "_poked", "rate_limited": false,
		"receive_ephemeral": true, "de.sorunome.msc2409.push_ephemeral": true,
	} {
		if file[key] != want {
			t.Errorf("%s is %v, want %v", key, file[key], want)
		}
	}
	users := file["namespaces"].(map[string]any)["users"].([]any)
	if len(users) != 1 || users[0].(map[string]any)["exclusive"] != false {
		t.Errorf("namespaces.users is %v", users)
	}
	if other := poked(t, "", args[:6]...); strings.Contains(other.Stdout, reg.ASToken) || strings.Contains(other.Stdout, reg.HSToken) {
		t.Error("two registrations have the same tokens")
	}
}

// A harmful registration is refused, and the error contains none of its tokens.
func TestBadRegistrations(t *testing.T) {
	const tokens = "as_token: SECRET-SECRET-SECRET\nhs_token: CANARY-CANARY-CANARY\n"
	const users = "namespaces:\n  users:\n  - regex: '@.*'\n"
	for name, tt := range map[string]struct{ text, want string }{
		"exclusive":     {tokens + users + "    exclusive: true\n", "exclusive"},
		"no users":      {tokens, "namespaces.users is empty"},
		"bad regex":     {tokens + strings.Replace(users, "@.*", "@(", 1), "regular expression"},
		"no tokens":     {users, "as_token and hs_token"},
		"equal tokens":  {strings.ReplaceAll(tokens, "CANARY", "SECRET") + users, "must differ"},
		"not YAML":      {"\tas_token: SECRET", "YAML"},
		"no file there": {"", "read registration"},
	} {
		path := filepath.Join(t.TempDir(), "none")
		if tt.text != "" {
			path = writeFile(t, "registration.yaml", tt.text)
		}
		got := poked(t, "", "bridge", "backfill", "--homeserver", "http://127.0.0.1:1", "--registration", path)
		if got.Code != ExitFailure || !strings.Contains(got.Stderr, tt.want) || strings.Contains(got.Stderr, "SECRET") {
			t.Errorf("%s: exit code %d, %s", name, got.Code, got.Stderr)
		}
	}
}
