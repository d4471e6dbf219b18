package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"poked/cmd/internal/node"
	outcome "poked/dispatcher/poke"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// opsAddr waits until a process has opened its operator's port.
func opsAddr(t *testing.T, p *process) string {
	t.Helper()
	addr := ""
	eventstest.WaitFor(t, "the operator's port", func() bool {
		for line := range strings.Lines(p.log()) {
			var fields struct{ Msg, Ops string }
			if json.Unmarshal([]byte(line), &fields) == nil && fields.Msg == "the operator's port is open" {
				addr = fields.Ops
			}
		}
		return addr != ""
	})
	return addr
}

// get sends a request to an operator's port.
func get(t *testing.T, addr, path string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Timeout: eventstest.Patience}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(raw)
}

// waitReadyz waits until /readyz has this status and contains the word.
func waitReadyz(t *testing.T, addr string, status int, word string) {
	t.Helper()
	last := ""
	eventstest.WaitFor(t, fmt.Sprintf("/readyz to be %d with %q", status, word), func() bool {
		got, body := get(t, addr, "/readyz")
		last = body
		return got == status && strings.Contains(body, word)
	})
	if status, body := get(t, addr, "/livez"); status != http.StatusOK {
		t.Errorf("/livez is %d %s while /readyz is %s", status, body, last)
	}
}

// TestReadyzFollowsNATS starts NATS after each role, stops it and starts it again.
func TestReadyzFollowsNATS(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	for role, args := range map[string][]string{
		"dispatcher": {"dispatcher"},
		"registry": {
			"registry", "--http", "127.0.0.1:0", "--database", filepath.Join(t.TempDir(), "poked.db"),
			"--tokens", writeFile(t, "tokens", "alice-token @alice:example.org\n"),
		},
	} {
		t.Run(role, func(t *testing.T) {
			options := node.NATSOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0", Sync: node.FsyncFlag{Interval: time.Second}, Log: discardLog()}
			startAt := func() *node.EmbeddedNATS {
				ns, err := node.StartNATS(options)
				if err != nil {
					t.Fatal(err)
				}
				options.Listen = ns.Where()
				return ns
			}
			startAt().Stop() // only to get its address
			p := begin(t, append(args, "--nats", "nats://"+options.Listen, "--ops", "127.0.0.1:0", "--partitions", "2")...)
			addr := opsAddr(t, p)
			waitReadyz(t, addr, http.StatusServiceUnavailable, "nats is not there yet")
			ns := startAt()
			p.waitReady()
			waitReadyz(t, addr, http.StatusOK, "ready")
			ns.Stop()
			waitReadyz(t, addr, http.StatusServiceUnavailable, "nats is away")
			if _, body := get(t, addr, "/metrics"); !strings.Contains(body, "\npoked_nats_connected 0\n") {
				t.Errorf("/metrics does not show it: %s", body)
			}
			ns = startAt()
			waitReadyz(t, addr, http.StatusOK, "ready")
			p.terminate()
			ns.Stop()
		})
	}
}

// userAdder adds users to a NATS and a dispatcher with an operator's port.
type userAdder struct {
	t    *testing.T
	url  string
	conn *stream.Conn
	ops  string
}

// add adds n users, each with their own gateway and a room with a message. Only the first
// gateway answers.
func (c *userAdder) add(gateway string, from, n int) {
	c.t.Helper()
	var lines []string
	for i := from; i < from+n; i++ {
		user := events.UserID(fmt.Sprintf("@user%d:example.org", i))
		data := fmt.Sprintf(`{"url":"http://127.0.0.1:%d/_matrix/push/v1/notify"}`, 1+i) // without a listener
		if i == 0 {
			data = fmt.Sprintf(`{"url":%q}`, gateway)
		}
		err := c.conn.PutPushers(c.t.Context(), events.UserPushers{UserID: user, Version: 1, Pushers: []events.Pusher{
			{AppID: fmt.Sprint("app", i), Pushkey: fmt.Sprint("pushkey", i), Kind: "http", Data: json.RawMessage(data)},
		}})
		if err != nil {
			c.t.Fatal(err)
		}
		for kind, state := range map[string]string{string(user): string(user), "@friend:example.org": "@friend:example.org"} {
			lines = append(lines, fmt.Sprintf(`{"event_id":"$join%d%s","room_id":"!room%d:x","type":"m.room.member","sender":%q,"state_key":%q,"content":{"membership":"join"}}`, i, kind, i, state, state))
		}
		lines = append(lines, fmt.Sprintf(`{"event_id":"$said%d","room_id":"!room%d:x","type":"m.room.message","sender":"@friend:example.org","content":{"msgtype":"m.text","body":"secret%d"}}`, i, i, i))
	}
	<-time.After(time.Second) // until the dispatcher knows the pushers
	publishAll(c.t, c.url, lines...)
}

// labels returns all values of all labels in a response of /metrics.
func labels(body string) map[string][]string {
	all := map[string][]string{}
	for _, label := range regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`).FindAllStringSubmatch(body, -1) {
		if !slices.Contains(all[label[1]], label[2]) {
			all[label[1]] = append(all[label[1]], label[2])
		}
	}
	return all
}

// TestNoLabelGrows checks the values of all labels with many users, rooms and gateways.
func TestNoLabelGrows(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	_, url := startTestNATS(t)
	p, where := start(t, "dispatcher", "--nats", url, "--ops", "127.0.0.1:0", "--partitions", "2",
		"--gateway-allow", "127.0.0.1", "--gateway-allow-http")
	conn, err := stream.Connect(t.Context(), stream.Config{URL: url, Log: discardLog()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, gateway := &userAdder{t: t, url: url, conn: conn, ops: fmt.Sprint(where["ops"])}, startGateway(t)
	c.add(gateway.url, 0, 40)
	body := ""
	eventstest.WaitFor(t, "39 pushers to lag", func() bool {
		_, body = get(t, c.ops, "/metrics")
		return strings.Contains(body, "\npoked_pushers_lagging 39\n")
	})
	for _, want := range []string{
		`poked_pokes_total{class="ok",outcome="delivered"} 1`, `poked_pokes_total{class="refused",outcome="retry"} `,
		`poked_poke_latency_seconds_count 1`, `poked_room_events_total 120`, `poked_notifications_total 40`,
		`poked_oldest_undelivered_seconds `, `poked_gateways{state="closed"} `, `poked_gateways{state="capacity"} `, `poked_capacity_limited `, `poked_own_delay_seconds `, `poked_stage_behind_seconds{stage="deliver"} `, `poked_dead_letters 0`, `poked_dead_pokes_total{reason="refused"} 0`,
		`poked_partition_owned{partition="0",stage="match"} 1`, `poked_partition_waiting_messages{partition="1",stage="deliver"} 0`,
		`poked_stream_messages{stream="ROOMS"} `, `poked_nats_connected 1`, `go_goroutines `,
	} {
		if !strings.Contains(body, "\n"+want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
	for name, values := range labels(body) {
		for _, value := range values {
			if !isBounded(name, value) {
				t.Errorf("label %s has the value %q", name, value)
			}
		}
	}
	if regexp.MustCompile(`example\.org|secret|pushkey|127\.0\.0\.1|!room`).MatchString(body) {
		t.Errorf("/metrics contains ids or content: %s", body)
	}
	p.terminate()
}

// isBounded reports whether a label may have this value, one of a closed set.
func isBounded(label, value string) bool {
	switch label {
	case "outcome":
		for kind := range outcome.Kinds {
			if kind.String() == value {
				return true
			}
		}
		return false
	case "reason":
		return slices.Contains(events.DeadReasons(), events.DeadReason(value)) || new(events.Suppression).UnmarshalText([]byte(value)) == nil
	case "class":
		for class := range outcome.Classes {
			if class.String() == value {
				return true
			}
		}
		return false
	case "state":
		return slices.Contains(events.GatewayPhases(), events.GatewayPhase(value))
	case "stage":
		return value == "match" || value == "deliver" || value == "strays"
	case "stream":
		return strings.ToUpper(value) == value && len(value) < 20
	case "partition":
		return value == "0" || value == "1"
	case "le", "quantile":
		_, err := strconv.ParseFloat(value, 64)
		return err == nil
	case "version", "goversion", "nats_server":
		return strings.HasPrefix(value, "go") || strings.HasPrefix(value, "v") || value == "(devel)"
	case "revision":
		return value == "unknown" || len(value) == 40
	}
	return false
}

// TestMetricsShowTheOutbox: the metrics show unpublished changes while NATS is away.
func TestMetricsShowTheOutbox(t *testing.T) {
	eventstest.Long(t)
	gateway := startGateway(t)
	ns, url := startTestNATS(t)
	p, where := start(t, "registry", "--nats", url, "--http", "127.0.0.1:0", "--database", filepath.Join(t.TempDir(), "poked.db"),
		"--tokens", writeFile(t, "tokens", "alice-token @alice:example.org\n"), "--ops", "127.0.0.1:0",
		"--gateway-allow", "127.0.0.1", "--gateway-allow-http")
	addr := fmt.Sprint(where["ops"])
	waitReadyz(t, addr, http.StatusOK, "ready")
	ns.Stop()
	waitReadyz(t, addr, http.StatusServiceUnavailable, "nats is away")
	setPusher(t, fmt.Sprintf("http://%s", where["http"]), gateway.url, "key")
	eventstest.WaitFor(t, "the outbox to show", func() bool {
		_, body := get(t, addr, "/metrics")
		return strings.Contains(body, "\npoked_outbox_rows 1\n") && strings.Contains(body, "\npoked_outbox_published 0\n")
	})
	p.terminate()
}
