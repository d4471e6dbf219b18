package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"poked/cmd/internal/clitest"
	"poked/events/eventstest"
)

// A process that is killed while a gateway is down resumes after the restart: every poke
// arrives, in order for each pusher, and none that was answered is repeated.
func TestKilledServeResumes(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	gateway := startStatusGateway(t)
	data := filepath.Join(t.TempDir(), "data")
	tokens := writeFile(t, "tokens", "alice-token @alice:example.org\n")

	first, d := startKillable(t, data, tokens)
	for _, key := range []string{"phone", "desk"} {
		setPusher(t, d.http, gateway.url, key)
	}
	publishAll(t, d.nats, "--historical", memberEvent("alice"), memberEvent("bob"))
	awaitPushers(t, d.nats, gateway, "phone", "desk")
	publishAll(t, d.nats, messages(0, 20)...)
	eventstest.WaitFor(t, "pokes before the outage", func() bool { return len(gateway.delivered("phone")) == 20 && len(gateway.delivered("desk")) == 20 })

	gateway.setStatus(http.StatusServiceUnavailable)
	publishAll(t, d.nats, messages(20, 40)...)
	eventstest.WaitFor(t, "refused tries", func() bool { return gateway.refusals() >= 3 })
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // it was killed

	_, d = startKillable(t, data, tokens)
	publishAll(t, d.nats, messages(40, 50)...)
	gateway.setStatus(http.StatusOK)
	eventstest.WaitFor(t, "all pokes", func() bool { return len(gateway.delivered("phone")) >= 50 && len(gateway.delivered("desk")) >= 50 })

	for _, key := range []string{"phone", "desk"} {
		var want []string
		for n := range 50 {
			want = append(want, fmt.Sprintf("$said-%d", n))
		}
		if got := gateway.delivered(key); !slices.Equal(got, want) {
			t.Errorf("%s got\n%v, want\n%v", key, got, want)
		}
	}
}

// startKillable runs serve in a separate process and returns when it is ready.
func startKillable(t *testing.T, data, tokens string) (*exec.Cmd, deployment) {
	t.Helper()
	return startProgram(t, "serve", "--data", data, "--tokens", tokens, "--http", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
		"--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", "2")
}

// startProgram runs poked in a separate process and returns when it is ready.
func startProgram(t *testing.T, args ...string) (*exec.Cmd, deployment) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], append(args, "--log-format", "json")...)
	cmd.Env = append(os.Environ(), clitest.AsProgram+"=1")
	logs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(logs)
	for {
		var line map[string]any
		if err := decoder.Decode(&line); err != nil {
			t.Fatalf("serve ended before it was ready: %v", err)
		}
		if line["msg"] != "poked is ready" {
			continue
		}
		go func() { _, _ = io.Copy(io.Discard, logs) }() // ends with the process
		return cmd, deployment{http: fmt.Sprintf("http://%s", line["http"]), nats: fmt.Sprintf("nats://%s", line["nats"])}
	}
}

// statusGateway answers every poke with a status that can be changed, and records accepted
// pokes.
type statusGateway struct {
	url string

	mu      sync.Mutex
	status  int
	pokes   map[string][]string // accepted event ids by pushkey, in order
	refused int
}

func startStatusGateway(t *testing.T) *statusGateway {
	g := &statusGateway{status: http.StatusOK, pokes: map[string][]string{}}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	g.url = server.URL + "/_matrix/push/v1/notify"
	return g
}

func (g *statusGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var p struct {
		Notification struct {
			EventID string `json:"event_id"`
			Devices []struct {
				Pushkey string `json:"pushkey"`
			} `json:"devices"`
		} `json:"notification"`
	}
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil || len(p.Notification.Devices) != 1 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	w.WriteHeader(g.status)
	if g.status != http.StatusOK {
		g.refused++
		return
	}
	key := p.Notification.Devices[0].Pushkey
	g.pokes[key] = append(g.pokes[key], p.Notification.EventID)
	_, _ = io.WriteString(w, "{}")
}

func (g *statusGateway) setStatus(status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status = status
}

func (g *statusGateway) refusals() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused
}

// delivered returns the messages that a pushkey got, in order.
func (g *statusGateway) delivered(key string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.pokes[key]), func(id string) bool { return !strings.HasPrefix(id, "$said-") })
}

func (g *statusGateway) got(key, event string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.pokes[key], event)
}

// awaitPushers publishes messages until every pushkey gets the same one: the dispatcher may
// not know new pushers yet.
func awaitPushers(t *testing.T, nats string, g *statusGateway, keys ...string) {
	t.Helper()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for n := range 100 {
		id := fmt.Sprintf("$probe-%d", n)
		publishAll(t, nats, saidByBob(id))
		<-again.C
		if !slices.ContainsFunc(keys, func(key string) bool { return !g.got(key, id) }) {
			return
		}
	}
	t.Fatal("the pushers are never poked")
}

func saidByBob(id string) string {
	return fmt.Sprintf(`{"event_id":%q,"room_id":"!room:example.org","type":"m.room.message","sender":"@bob:example.org","content":{"body":"hello"}}`, id)
}

// messages returns the messages with numbers in [from, to).
func messages(from, to int) []string {
	var lines []string
	for n := from; n < to; n++ {
		lines = append(lines, saidByBob(fmt.Sprintf("$said-%d", n)))
	}
	return lines
}
