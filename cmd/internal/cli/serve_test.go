package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"poked/events/eventstest"
)

// The whole path over real connections: Alice sets a pusher over HTTP, Bob sends a message in
// their room, the homeserver publishes it, and Alice's gateway is poked, with one process and
// with three.
func TestPokeArrives(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start func(t *testing.T, tokens string) deployment
	}{
		{"serve", startServe},
		{"a role a process", startRoles},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gateway := startGateway(t)
			d := tt.start(t, writeFile(t, "tokens", "alice-token @alice:example.org PHONE\n"))
			setPusher(t, d.http, gateway.url, "alice-pushkey")
			publishAll(t, d.nats, "--historical", memberEvent("alice"), memberEvent("bob"))
			poke := firstPoke(t, d.nats, gateway.pokes)
			checkPoke(t, poke)
			for _, p := range d.processes {
				p.terminate()
				for _, secret := range []string{"alice-token", "alice-pushkey", "hello alice"} {
					if strings.Contains(p.log(), secret) {
						t.Errorf("the log holds %q:\n%s", secret, p.log())
					}
				}
			}
		})
	}
}

// deployment is a running poked of one or more processes.
type deployment struct {
	http, nats string // URLs
	processes  []*process
}

func startServe(t *testing.T, tokens string) deployment {
	p, where := start(t, "serve", "--data", filepath.Join(t.TempDir(), "data"), "--tokens", tokens,
		"--http", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
		"--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", "2")
	return deployment{
		http: fmt.Sprintf("http://%s", where["http"]), nats: fmt.Sprintf("nats://%s", where["nats"]),
		processes: []*process{p},
	}
}

func startRoles(t *testing.T, tokens string) deployment {
	_, url := startTestNATS(t)
	shared := []string{"--nats", url, "--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", "2"}
	registry, where := start(t, append([]string{"registry", "--http", "127.0.0.1:0",
		"--database", filepath.Join(t.TempDir(), "poked.db"), "--tokens", tokens}, shared...)...)
	dispatcher, _ := start(t, append([]string{"dispatcher"}, shared...)...)
	return deployment{http: fmt.Sprintf("http://%s", where["http"]), nats: url, processes: []*process{registry, dispatcher}}
}

type gateway struct {
	url   string
	pokes chan poke
}

type poke struct {
	Notification struct {
		EventID string `json:"event_id"`
		Sender  string `json:"sender"`
		Counts  struct {
			Unread int `json:"unread"`
		} `json:"counts"`
		Devices []struct {
			AppID   string          `json:"app_id"`
			Pushkey string          `json:"pushkey"`
			Tweaks  json.RawMessage `json:"tweaks"`
		} `json:"devices"`
	} `json:"notification"`
}

func startGateway(t *testing.T) gateway {
	t.Helper()
	g := gateway{pokes: make(chan poke, 1000)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var p poke
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
			t.Errorf("read poke: %v", err)
		}
		g.pokes <- p
		_, _ = w.Write([]byte(`{"rejected":[]}`))
	}))
	t.Cleanup(server.Close)
	g.url = server.URL + "/_matrix/push/v1/notify"
	return g
}

func setPusher(t *testing.T, base, gateway, pushkey string) {
	t.Helper()
	body := fmt.Sprintf(`{"kind":"http","app_id":"org.example.app","pushkey":%q,"app_display_name":"App",
		"device_display_name":"Phone","lang":"en","data":{"url":%q}}`, pushkey, gateway)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/_matrix/client/v3/pushers/set", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer alice-token")
	client := &http.Client{Timeout: eventstest.Patience}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("set pusher: %s", response.Status)
	}
}

// getPushers returns the response of GET pushers for Alice.
func getPushers(t *testing.T, base string) string {
	t.Helper()
	return getAsAlice(t, base, "pushers")
}

// getAsAlice sends a request to the client-server API as Alice.
func getAsAlice(t *testing.T, base, what string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/_matrix/client/v3/"+what, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer alice-token")
	response, err := (&http.Client{Timeout: eventstest.Patience}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// publishAll publishes events with "poked publish". The first argument may be a flag.
func publishAll(t *testing.T, url string, args ...string) {
	t.Helper()
	command := []string{"publish", "--nats", url}
	if strings.HasPrefix(args[0], "--") {
		command, args = append(command, args[0]), args[1:]
	}
	if got := poked(t, strings.Join(args, "\n"), command...); got.Code != ExitOK {
		t.Fatalf("publish: exit code %d, %s", got.Code, got.Stderr)
	}
}

func memberEvent(name string) string {
	return fmt.Sprintf(`{"event_id":"$join-%[1]s","room_id":"!room:example.org","type":"m.room.member",`+
		`"sender":"@%[1]s:example.org","state_key":"@%[1]s:example.org","content":{"membership":"join"}}`, name)
}

// firstPoke publishes messages of Bob until Alice is poked: the dispatcher may not know her
// new pusher yet.
func firstPoke(t *testing.T, url string, pokes <-chan poke) poke {
	t.Helper()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for n := range 100 {
		publishAll(t, url, fmt.Sprintf(`{"event_id":"$said-%d","room_id":"!room:example.org","type":"m.room.message",`+
			`"sender":"@bob:example.org","content":{"msgtype":"m.text","body":"hello alice"}}`, n))
		select {
		case p := <-pokes:
			return p
		case <-again.C:
		}
	}
	t.Fatal("no poke arrives")
	return poke{}
}

func checkPoke(t *testing.T, p poke) {
	t.Helper()
	n := p.Notification
	if !strings.HasPrefix(n.EventID, "$said-") || n.Sender != "@bob:example.org" {
		t.Errorf("poked for %s of %s", n.EventID, n.Sender)
	}
	if len(n.Devices) != 1 || n.Devices[0].AppID != "org.example.app" || n.Devices[0].Pushkey != "alice-pushkey" {
		t.Errorf("poked devices %+v", n.Devices)
	}
}

// Pushers and events survive a restart.
func TestServeRestarts(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	gateway := startGateway(t)
	data := filepath.Join(t.TempDir(), "data")
	args := []string{"serve", "--data", data, "--tokens", writeFile(t, "tokens", "alice-token @alice:example.org\n"),
		"--http", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--gateway-allow", "127.0.0.1", "--gateway-allow-http"}
	first, where := start(t, args...)
	setPusher(t, fmt.Sprintf("http://%s", where["http"]), gateway.url, "alice-pushkey")
	publishAll(t, fmt.Sprintf("nats://%s", where["nats"]), "--historical", memberEvent("alice"), memberEvent("bob"))
	first.terminate()

	second, where := start(t, args...)
	checkPoke(t, firstPoke(t, fmt.Sprintf("nats://%s", where["nats"]), gateway.pokes))
	second.terminate()

	third, where := start(t, args...)
	eventstest.WaitFor(t, "the last success before the restart, once the dispatcher owns the partition", func() bool {
		got := poked(t, "", "pushers", "--user", "@alice:example.org", "--json", "--nats", fmt.Sprintf("nats://%s", where["nats"]))
		return strings.Contains(got.Stdout, `"last_success":"20`)
	})
	third.terminate()
	if info, err := os.Stat(data); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v, %v", info.Mode(), err)
	}
}

// Two NATS servers on the same files would corrupt them.
func TestServeLocksItsData(t *testing.T) {
	eventstest.Long(t)
	data, tokens := t.TempDir(), writeFile(t, "tokens", "")
	args := []string{"serve", "--data", data, "--tokens", tokens, "--http", "127.0.0.1:0"}
	p, where := start(t, args...)
	if where["nats"] != "in process" {
		t.Errorf("NATS is at %v", where["nats"])
	}
	got := poked(t, "", args...)
	if got.Code != ExitFailure || !strings.Contains(got.Stderr, "another poked") || strings.Count(got.Stderr, "\n") != 1 {
		t.Errorf("second one: exit code %d, %q", got.Code, got.Stderr)
	}
	p.terminate()
	again, _ := start(t, args...)
	again.terminate()
}

// A role that cannot start reports why in one line, and leaves no files behind.
func TestServeFailsCleanly(t *testing.T) {
	eventstest.Long(t)
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	data, tokens := t.TempDir(), writeFile(t, "tokens", "")
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"HTTP address is taken", []string{"--tokens", tokens, "--http", taken.Listener.Addr().String()}, "address already in use"},
		{"no token file", []string{"--tokens", filepath.Join(data, "none"), "--http", "127.0.0.1:0"}, "start registry"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := poked(t, "", append([]string{"serve", "--data", data}, tt.args...)...)
			if got.Code != ExitFailure || !strings.Contains(got.Stderr, tt.want) || strings.Count(got.Stderr, "\n") != 1 {
				t.Errorf("exit code %d, %q", got.Code, got.Stderr)
			}
			fresh := filepath.Join(t.TempDir(), "fresh")
			poked(t, "", append([]string{"serve", "--data", fresh}, tt.args...)...)
			if _, err := os.Stat(fresh); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("its data directory is left: %v", err)
			}
			if _, err := os.Stat(data); err != nil {
				t.Errorf("a data directory that was there before is gone: %v", err)
			}
		})
	}
}

// TestHangupRereadsTokens sends SIGHUP to a serve in a separate process: the changed
// token file is valid at once, a broken one changes nothing, and the process continues.
func TestHangupRereadsTokens(t *testing.T) {
	args := serveArgs(t, filepath.Join(t.TempDir(), "data"))
	tokens := args[slices.Index(args, "--tokens")+1]
	c, where := startChild(t, args...)
	base := fmt.Sprintf("http://%s", where["http"])
	hangup := func(content, line string) {
		t.Helper()
		if err := os.WriteFile(tokens, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		// There is no request meanwhile, which could reread the file, too.
		eventstest.WaitFor(t, line, func() bool { return strings.Contains(c.log(), line) })
	}
	hangup("fresh-token @alice:example.org\n", "token file reread")
	if got := statusWith(t, base, "fresh-token"); got != http.StatusOK {
		t.Errorf("the new token gets status %d", got)
	}
	if got := statusWith(t, base, "alice-token"); got != http.StatusUnauthorized {
		t.Errorf("the old token gets status %d", got)
	}
	hangup("no user id\n", "a file was not reread")
	if got := statusWith(t, base, "fresh-token"); got != http.StatusOK {
		t.Errorf("after a broken file the token gets status %d", got)
	}
	if strings.Contains(c.log(), "fresh-token") {
		t.Errorf("the log holds a token:\n%s", c.log())
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("it ended with %v:\n%s", err, c.log())
	}
}

// statusWith returns the status of GET pushers with an access token.
func statusWith(t *testing.T, base, token string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/_matrix/client/v3/pushers", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{Timeout: eventstest.Patience}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
