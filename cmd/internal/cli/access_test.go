package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"poked/events"
	"poked/events/eventstest"
)

// guarded is a server with the accounts, users and permissions of nats.conf. Only its
// addresses, its directory and the cluster differ.
type guarded struct {
	t       *testing.T
	addr    string
	streams bool // the log is in four streams
}

// eachFormat runs a test with both formats of acknowledgements that a server may use.
func eachFormat(t *testing.T, test func(t *testing.T, g guarded)) {
	for name, v2 := range map[string]bool{"v1": false, "v2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, startGuarded(t, func(options *server.Options) {
				options.FeatureFlags = map[string]bool{server.FeatureFlagJsAckFormatV2: v2}
			}))
		})
	}
}

// natsConf guards the variable that nats.conf reads the routes of a cluster from.
var natsConf sync.Mutex

// readNATSConf reads nats.conf for a server of a cluster with these routes.
func readNATSConf(t *testing.T, routes ...string) *server.Options {
	t.Helper()
	return readNATSConfOf(t, fromRoot("cmd", "poked", "deploy", "nats.conf"), routes...)
}

// confOfFour makes the nats.conf for --streams 4 as its comment describes.
func confOfFour(t *testing.T) (path string) {
	t.Helper()
	conf, err := os.ReadFile(fromRoot("cmd", "poked", "deploy", "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(conf), "#     sed -E")
	recipe, _, ok := strings.Cut(rest, "\n#\n")
	if !ok {
		t.Fatal("nats.conf does not say how to make one for --streams 4")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nats.conf"), conf, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "sed -E"+strings.ReplaceAll(recipe, "\n#", "\n"))
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make nats4.conf: %v, %s", err, out)
	}
	return filepath.Join(dir, "nats4.conf")
}

func readNATSConfOf(t *testing.T, path string, routes ...string) *server.Options {
	t.Helper()
	natsConf.Lock()
	defer natsConf.Unlock()
	if err := os.Setenv("POKED_NATS_ROUTES", "["+strings.Join(routes, ", ")+"]"); err != nil {
		t.Fatal(err)
	}
	options, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return options
}

func startGuarded(t *testing.T, change ...func(*server.Options)) guarded {
	t.Helper()
	return guard(t, readNATSConf(t), change...)
}

func guard(t *testing.T, options *server.Options, change ...func(*server.Options)) guarded {
	t.Helper()
	options.Host, options.Port, options.HTTPPort = "127.0.0.1", server.RANDOM_PORT, 0
	options.Cluster, options.Routes = server.ClusterOpts{}, nil
	options.StoreDir, options.NoSigs, options.NoLog = t.TempDir(), true, true
	for _, c := range change {
		c(options)
	}
	return guarded{t: t, addr: startServer(t, options).Addr().String()}
}

func (g guarded) url(role string) string { return "nats://" + role + ":p-" + role + "@" + g.addr }

// run runs a one-shot command in a role, and fails the test if the command fails.
func (g guarded) run(role string, args ...string) string {
	g.t.Helper()
	got := poked(g.t, "", append(args, "--nats", g.url(role))...)
	if got.Code != ExitOK {
		g.t.Fatalf("%v as %s: exit code %d, %s", args, role, got.Code, got.Stderr)
	}
	return got.Stdout
}

// start starts a dispatcher, which may not create the streams, and then a registry.
func (g guarded) start() (roles []*process, http string) {
	g.t.Helper()
	partitions, streams := "2", "1"
	if g.streams {
		partitions, streams = "16", "4"
	}
	extra := []string{"--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", partitions, "--log-level", "debug"}
	dispatcher := begin(g.t, append([]string{"dispatcher", "--nats", g.url("dispatcher"), "--ops", "127.0.0.1:0", "--ops-nats", g.url("operator")}, extra...)...)
	eventstest.WaitFor(g.t, "the dispatcher to wait for the streams", func() bool {
		return strings.Contains(dispatcher.log(), "waiting for the streams")
	})
	registry, where := start(g.t, append([]string{"registry", "--nats", g.url("registry"), "--http", "127.0.0.1:0",
		"--database", filepath.Join(g.t.TempDir(), "poked.db"), "--streams", streams,
		"--webpush-subject", "mailto:push@matrix.org",
		"--tokens", writeFile(g.t, "tokens", "alice-token @alice:example.org PHONE\n")}, extra...)...)
	dispatcher.waitReady()
	return []*process{registry, dispatcher}, fmt.Sprintf("http://%s", where["http"])
}

// TestEachRoleHasItsPermissions uses each role with its own credentials: a poke arrives, an
// operator lists pushers, a database is restored, a dead letter is retried, a device is
// logged out. Once the streams exist, the server refuses nothing.
func TestEachRoleHasItsPermissions(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	eachFormat(t, useEachRole)
}

// TestEachRoleHasItsPermissionsInFourStreams is the same with --streams 4. Dispatchers learn the
// number of streams from NATS, and the homeserver publishes by way of the subject mapping.
func TestEachRoleHasItsPermissionsInFourStreams(t *testing.T) {
	eventstest.Soak(t)
	t.Parallel()
	g := guard(t, readNATSConfOf(t, confOfFour(t)))
	g.streams = true
	useEachRole(t, g)
	if n := g.messages(g.connect("registry"), "NOTIFICATIONS_1") + g.messages(g.connect("registry"), "NOTIFICATIONS_2") +
		g.messages(g.connect("registry"), "NOTIFICATIONS_3") + g.messages(g.connect("registry"), "NOTIFICATIONS_4"); n == 0 {
		t.Error("nothing is in the four streams")
	}
}

func useEachRole(t *testing.T, g guarded) {
	gateway := startGateway(t)
	roles, http := g.start()
	setPusher(t, http, gateway.url, "alice-pushkey")
	publishAll(t, g.url("homeserver"), "--historical", memberEvent("alice"), memberEvent("bob"))
	checkPoke(t, firstPoke(t, g.url("homeserver"), gateway.pokes))
	g.trace()
	g.redaction(http)
	publishAll(t, g.url("homeserver"), `{"type":"m.receipt","room_id":"!room:example.org",`+
		`"content":{"$said-0":{"m.read":{"@alice:example.org":{"ts":1}}}}}`)
	if out := g.run("operator", "pushers", "--json"); !strings.Contains(out, "@alice:example.org") {
		t.Errorf("pushers: %s", out)
	}
	g.run("operator", "pushers", "retry", "--user", "@alice:example.org")
	g.run("operator", "pushers", "removed")
	g.run("operator", "pushers", "test", "@alice:example.org")
	if code, answer := request(t.Context(), t, "POST", http+"/_matrix/client/v3/pushers/push", "alice-token",
		`{"app_id":"org.example.app","pushkey":"alice-pushkey","event_id":"$test"}`); !strings.Contains(answer, `"status":"ok"`) {
		t.Errorf("test push: %d %s", code, answer)
	}
	if out := g.run("operator", "gateways", "--json"); !strings.Contains(out, strings.TrimSuffix(gateway.url, "/_matrix/push/v1/notify")) {
		t.Errorf("gateways: %s", out)
	}
	if out := g.run("registry", "registry", "restore", "--from-nats", "--json", "--database", filepath.Join(t.TempDir(), "new.db")); !strings.Contains(out, `"pushers":1`) || !strings.Contains(out, `"vapid_key":true`) {
		t.Errorf("restore: %s", out)
	}
	g.deadLetters()
	g.page(opsAddr(t, roles[1]))
	g.logout(http)
	for _, p := range roles {
		_, after, _ := strings.Cut(p.log(), `"poked is ready"`)
		if strings.Contains(strings.ToLower(after), "permissions violation") {
			t.Errorf("a permission is missing: %s", after)
		}
		p.terminate()
	}
}

// page reads each page for operators, which a dispatcher shows with an operator's permissions.
func (g guarded) page(ops string) {
	g.t.Helper()
	for path, want := range map[string]string{
		"/": "registry", "/gateways": "works", "/person?user=@alice:example.org": "Last success", "/dead": "No dead letter",
		"/trace?event=$said-0": "Was to be notified", "/trace?event=$said-0&room=!room:example.org": "Delivered at",
	} {
		if status, text := get(g.t, ops, path); status != 200 || !strings.Contains(text, want) || strings.Contains(text, "Without ") {
			g.t.Errorf("%s: %d, want %q\n%s", path, status, want, text)
		}
	}
}

// trace asks, as the operator, what became of the event that notified Alice.
func (g guarded) trace() {
	g.t.Helper()
	for _, room := range [][]string{nil, {"--room", "!room:example.org"}} {
		eventstest.WaitFor(g.t, "the outcome of the poke", func() bool {
			return strings.Contains(g.run("operator", append([]string{"trace", "$said-0", "--user", "@alice:example.org"}, room...)...), "Delivered at")
		})
	}
	if out := g.run("operator", "room", "!room:example.org"); !strings.Contains(out, "@alice:example.org") {
		g.t.Errorf("room: %s", out)
	}
	if out := g.run("operator", "rules", "@alice:example.org"); !strings.Contains(out, ".m.rule.master") {
		g.t.Errorf("rules: %s", out)
	}
}

// redaction redacts an event that notified Alice, and lists it before and after.
func (g guarded) redaction(http string) {
	g.t.Helper()
	listed := func() bool { return strings.Contains(getAsAlice(g.t, http, "notifications"), `"$said-0"`) }
	eventstest.WaitFor(g.t, "the event to be listed", listed)
	publishAll(g.t, g.url("homeserver"), `{"event_id":"$redaction","room_id":"!room:example.org","type":"m.room.redaction",`+
		`"sender":"@bob:example.org","content":{"redacts":"$said-0"}}`)
	eventstest.WaitFor(g.t, "the redacted event to be removed", func() bool { return !listed() })
}

// deadLetters retries and drops an unreadable message.
func (g guarded) deadLetters() {
	g.t.Helper()
	homeserver := g.connect("homeserver")
	if err := homeserver.Publish("room."+events.Token("!room:example.org")+".event", []byte("nothing")); err != nil {
		g.t.Fatal(err)
	}
	dead := func() int { return strings.Count(g.run("operator", "dead", "list", "--json"), "\n") }
	eventstest.WaitFor(g.t, "a dead letter", func() bool { return dead() == 1 })
	g.run("operator", "dead", "retry", "--reason", "bad_event")
	eventstest.WaitFor(g.t, "the second dead letter", func() bool { return dead() == 1 })
	g.run("operator", "dead", "drop", "--reason", "bad_event")
	if n := dead(); n != 0 {
		g.t.Errorf("%d dead letters are left", n)
	}
}

// logout publishes, as the homeserver, that Alice's device is gone, and waits until her
// pusher is removed.
func (g guarded) logout(http string) {
	g.t.Helper()
	msg, err := g.connect("homeserver").Request("account."+events.Token("@alice:example.org")+".logout",
		[]byte(`{"user_id":"@alice:example.org","device_id":"PHONE"}`), 10*time.Second)
	if err != nil || !strings.Contains(string(msg.Data), `"stream":"ACCOUNTS"`) {
		g.t.Fatalf("logout: %v", err)
	}
	eventstest.WaitFor(g.t, "the pusher to be removed", func() bool { return !strings.Contains(getPushers(g.t, http), "alice-pushkey") })
	registry := g.connect("registry")
	eventstest.WaitFor(g.t, "the registry to acknowledge it", func() bool { return g.messages(registry, "ACCOUNTS") == 0 })
}

// messages returns, as the registry, the number of messages in a stream.
func (g guarded) messages(registry *nats.Conn, stream string) int {
	g.t.Helper()
	info, err := registry.Request("$JS.API.STREAM.INFO."+stream, nil, 10*time.Second)
	var answer struct {
		State *struct {
			Messages int `json:"messages"`
		} `json:"state"`
	}
	if err != nil || json.Unmarshal(info.Data, &answer) != nil || answer.State == nil {
		g.t.Fatalf("%s: %v %v", stream, info, err)
	}
	return answer.State.Messages
}

// connect returns a bare connection of a role.
func (g guarded) connect(role string) *nats.Conn {
	g.t.Helper()
	nc, err := nats.Connect(g.url(role), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(nc.Close)
	return nc
}
