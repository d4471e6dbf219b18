package pagetest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"poked/cmd/internal/cli"
	"poked/cmd/internal/clitest"
	"poked/events"
	"poked/events/eventstest"
)

// Names that a hostile user chooses: markup, scripts, and characters that turn text around.
const (
	hostileRoom   = `<b onclick="alert(1)">Kitchen</b> & 'friends' <script>document.title="owned"</script>`
	hostileDevice = "<img src=x onerror=\"document.title='owned'\"> \u202etelbat"
	token         = "operator-token-0123456789"
)

// stand is a running poked with a gateway that works and one that fails.
type stand struct {
	t          *testing.T
	http, nats string
	ops        string // URL of the operator's port
	works      *httptest.Server
	fails      *httptest.Server
	answer     atomic.Int32 // status of the failing gateway; 0 is none
	stop       context.CancelFunc

	mu    sync.Mutex
	pokes []string // bodies that the working gateway got
	log   bytes.Buffer
	said  int
}

// startStand starts poked with an operator's port, and flags beside those that it needs.
func startStand(t *testing.T, flags ...string) *stand {
	t.Helper()
	s := &stand{t: t}
	s.answer.Store(http.StatusBadGateway)
	s.works = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.pokes = append(s.pokes, string(body))
		s.mu.Unlock()
		_, _ = w.Write([]byte(`{"rejected":[]}`))
	}))
	t.Cleanup(s.works.Close)
	s.fails = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if status := s.answer.Load(); status != 0 {
			w.WriteHeader(int(status))
			return
		}
		_, _ = w.Write([]byte(`{"rejected":[]}`))
	}))
	t.Cleanup(s.fails.Close)
	tokens := "alice-token @alice:example.org PHONE\nbob-token-1 @bob:example.org LAPTOP\ncarol-token @carol:example.org C\ndave-token-1 @dave:example.org D\n"
	args := append([]string{
		"serve", "--data", filepath.Join(t.TempDir(), "data"), "--tokens", write(t, "tokens", tokens), "--http", "127.0.0.1:0",
		"--nats-listen", "127.0.0.1:0", "--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", "4",
		"--ops", "127.0.0.1:0", "--log-format", "json",
	}, flags...)
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	logs, stderr := io.Pipe()
	ready, read, ended := make(chan map[string]any, 1), make(chan struct{}), make(chan int, 1)
	go func() { // until the program closes its standard error
		defer close(read)
		for scanner := bufio.NewScanner(logs); scanner.Scan(); {
			s.mu.Lock()
			s.log.WriteString(scanner.Text() + "\n")
			s.mu.Unlock()
			var line map[string]any
			if json.Unmarshal(scanner.Bytes(), &line) == nil && line["msg"] == "poked is ready" {
				ready <- line
			}
		}
	}()
	go func() { // until stop
		code := cli.Poked().Run(ctx, args, strings.NewReader(""), io.Discard, stderr)
		_ = stderr.Close()
		<-read // the last line says why it ended
		ended <- code
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != cli.ExitOK {
			t.Errorf("exit code %d:\n%s", code, s.logged())
		}
	})
	select {
	case where := <-ready:
		s.http, s.nats, s.ops = fmt.Sprintf("http://%s", where["http"]), fmt.Sprintf("nats://%s", where["nats"]), fmt.Sprintf("http://%s", where["ops"])
	case code := <-ended:
		ended <- code
		t.Fatalf("it ended with %d:\n%s", code, s.logged())
	}
	return s
}

func (s *stand) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := writeFile(path, content); err != nil {
		t.Fatal(err)
	}
	return path
}

// setPusher sets a pusher as its client does.
func (s *stand) setPusher(token, app, pushkey, device string, gateway *httptest.Server, more ...string) {
	s.t.Helper()
	device = asJSON(device)
	body := fmt.Sprintf(`{"kind":"http","app_id":%q,"pushkey":%q,"app_display_name":"Element X","device_display_name":%s,"lang":"en","append":true,
		"data":{"url":%q}%s}`, app, pushkey, device, gateway.URL+"/_matrix/push/v1/notify", strings.Join(more, ""))
	s.asClient(token, http.MethodPost, "/_matrix/client/v3/pushers/set", body)
}

// asClient makes a request of a user's client.
func (s *stand) asClient(token, method, path, body string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.http+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := (&http.Client{Timeout: eventstest.Patience}).Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s %s: %s %s", method, path, res.Status, text)
	}
}

// run runs a one-shot command.
func (s *stand) run(stdin string, args ...string) string {
	s.t.Helper()
	got := clitest.Run(s.t, cli.Poked().Run, stdin, append(args, "--nats", s.nats)...)
	if got.Code != cli.ExitOK {
		s.t.Fatalf("%v: exit code %d, %s", args, got.Code, got.Stderr)
	}
	return got.Stdout
}

// publish publishes events as the homeserver.
func (s *stand) publish(lines []string, flags ...string) {
	s.t.Helper()
	s.run(strings.Join(lines, "\n")+"\n", append([]string{"publish"}, flags...)...)
}

// say publishes n messages of Carol and returns the id of the last.
func (s *stand) say(room string, n int) (last string) {
	s.t.Helper()
	var lines []string
	for range n {
		s.said++
		last = fmt.Sprintf("$said-%d", s.said)
		lines = append(lines, fmt.Sprintf(`{"room_id":%q,"event_id":%q,"sender":"@carol:example.org","type":"m.room.message","content":{"msgtype":"m.text","body":"CONTENT that no page shows"}}`, room, last))
	}
	s.publish(lines)
	return last
}

// room publishes a room with a name and members.
func (s *stand) room(id, name string, members ...string) {
	s.t.Helper()
	event := func(kind, key, sender, content string) string {
		return fmt.Sprintf(`{"room_id":%q,"event_id":"$%s-%s-%s","sender":%q,"type":%q,"state_key":%q,"content":%s}`, id, strings.TrimPrefix(id, "!"), kind, key, sender, kind, key, content)
	}
	lines := []string{event("m.room.create", "", "@carol:example.org", `{"room_version":"11","creator":"@carol:example.org"}`)}
	for _, member := range members {
		lines = append(lines, event("m.room.member", member, member, `{"membership":"join"}`))
	}
	lines = append(lines, event("m.room.name", "", "@carol:example.org", `{"name":`+asJSON(name)+`}`))
	s.publish(lines, "--historical")
}

func asJSON(text string) string {
	raw, err := json.Marshal(text)
	if err != nil {
		return `""`
	}
	return string(raw)
}

// furnish fills the stand with what the pages show: three people, of whom one has a device with
// a hostile name at a gateway that fails, and a message in a room with a hostile name.
func (s *stand) furnish() (event string) {
	s.t.Helper()
	s.setPusher("alice-token", "im.vector.app", "PUSHKEY-alice-phone", "Alice’s Pixel 9", s.works)
	s.setPusher("alice-token", "org.example.tablet", "PUSHKEY-alice-tablet", hostileDevice, s.fails)
	s.setPusher("bob-token-1", "im.vector.app", "PUSHKEY-bob", "Bob’s laptop", s.fails)
	s.room("!kitchen:example.org", hostileRoom, "@alice:example.org", "@bob:example.org", "@carol:example.org")
	event = s.say("!kitchen:example.org", 4)
	eventstest.WaitFor(s.t, "the failing gateway to be called down", func() bool {
		return strings.Contains(s.run("", "gateways", "--json"), `"state":"open"`)
	})
	return event
}

// bury makes dead letters: pokes that are put aside, and an event that cannot be read.
func (s *stand) bury() {
	s.t.Helper()
	s.run("", "pushers", "skip", "--user", "@bob:example.org")
	s.run("", "pushers", "skip", "--user", "@alice:example.org")
	s.publishBad(1)
	eventstest.WaitFor(s.t, "three dead letters", func() bool { return strings.Count(s.run("", "dead", "list", "--json"), "\n") >= 3 })
}

// publishBad publishes n events that cannot be read.
func (s *stand) publishBad(n int) {
	s.t.Helper()
	nc, err := nats.Connect(s.nats)
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	for range n {
		if _, err := nc.Request("room."+events.Token(events.RoomID("!kitchen:example.org"))+".event", []byte(`{"event_id":"$broken","room_id":"!kitchen:example.org","type":7}`), 5*time.Second); err != nil {
			s.t.Fatal(err)
		}
	}
}

// spoil makes n dead letters of events that cannot be read.
func (s *stand) spoil(n int) {
	s.t.Helper()
	s.publishBad(n)
	eventstest.WaitFor(s.t, "the dead letters", func() bool { return strings.Count(s.run("", "dead", "list", "--limit", "0", "--json"), "\n") == n })
}
