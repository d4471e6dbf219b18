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
	ns, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not get ready")
	}
	return guarded{t: t, addr: ns.Addr().String()}
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
	eventstest.Long(t)
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

// TestAHomeserverSeesNoPushers tries every way to read a pusher with the credentials of the
// homeserver, and subscribes to every subject meanwhile.
func TestAHomeserverSeesNoPushers(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	g, gateway := startGuarded(t), startGateway(t)
	_, http := g.start()
	homeserver := g.connect("homeserver")
	received := &recorder{}
	for _, subject := range []string{"$KV.PUSHERS.>", "_INBOX.>", "log.>", "poked.>", "$JS.>", "$SRV.>", "room.>", "rooms.>", "dead.>", ">"} {
		if _, err := homeserver.Subscribe(subject, received.record); err != nil {
			t.Fatal(err)
		}
	}
	setPusher(t, http, gateway.url, "alice-pushkey")
	publishAll(t, g.url("homeserver"), "--historical", memberEvent("alice"), memberEvent("bob"))
	firstPoke(t, g.url("homeserver"), gateway.pokes)
	// Another dispatcher reads all pushers while the homeserver is subscribed.
	second, _ := start(t, "dispatcher", "--nats", g.url("dispatcher"), "--partitions", "2")
	defer second.terminate()
	key := "0." + events.Token("@alice:example.org")
	if events.PartitionOf(events.Token("@alice:example.org"), 2) == 1 {
		key = "1" + key[1:]
	}
	received.askFor(t, homeserver, key)
	for _, word := range []string{"alice-pushkey", "rule_id"} {
		if subject := received.subjectWith(word); subject != "" {
			t.Errorf("the homeserver received %s on %s", word, subject)
		}
	}
	// The same requests succeed for a role that may send them, so the test can fail.
	control := &recorder{}
	control.askFor(t, g.connect("registry"), key)
	eventstest.WaitFor(t, "the registry to read both", func() bool { return control.subjectWith("alice-pushkey") != "" && control.subjectWith("rule_id") != "" })
}

// askFor tries every way to read the value of a key of PUSHERS.
func (r *recorder) askFor(t *testing.T, nc *nats.Conn, key string) {
	t.Helper()
	inbox := nc.NewInbox()
	if _, err := nc.Subscribe(inbox, r.record); err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	for subject, body := range waysToPushers(key, inbox) {
		asking.Go(func() {
			if answer, err := nc.Request(subject, []byte(body), time.Second); err == nil {
				r.record(answer)
			}
		})
	}
	asking.Wait()
}

// waysToPushers returns the requests that would show the value of a key of PUSHERS, by
// subject.
func waysToPushers(key, inbox string) map[string]string {
	consumer := fmt.Sprintf(`{"stream_name":"KV_PUSHERS","config":{"deliver_subject":%q,"deliver_policy":"all","ack_policy":"none","mem_storage":true}}`, inbox)
	return map[string]string{
		"$JS.API.DIRECT.GET.KV_PUSHERS.$KV.PUSHERS." + key:           "",
		"$JS.API.DIRECT.GET.KV_PUSHERS":                              `{"seq":1}`,
		"$JS.API.STREAM.MSG.GET.KV_PUSHERS":                          `{"seq":1}`,
		"$JS.API.CONSUMER.CREATE.KV_PUSHERS":                         consumer,
		"$JS.API.CONSUMER.CREATE.KV_PUSHERS.spy":                     strings.Replace(consumer, `"config":{`, `"config":{"name":"spy",`, 1),
		"$JS.API.STREAM.INFO.KV_PUSHERS":                             `{"subjects_filter":">"}`,
		"$JS.API.STREAM.SNAPSHOT.KV_PUSHERS":                         fmt.Sprintf(`{"deliver_subject":%q}`, inbox),
		"$JS.API.DIRECT.GET.NOTIFICATIONS":                           `{"seq":1}`,
		"$JS.API.STREAM.CREATE.SPY":                                  `{"name":"SPY","sources":[{"name":"KV_PUSHERS"}]}`,
		"$SRV.PING.poked-dispatcher":                                 "",
		"$JS.HOMESERVER.API.STREAM.MSG.GET.KV_PUSHERS":               `{"seq":1}`,
		"$JS.API.DIRECT.GET.KV_PUSHERS.$KV.PUSHERS." + key + ".more": "",
	}
}

// recorder records the messages that it receives.
type recorder struct {
	mu       sync.Mutex
	messages []*nats.Msg
}

func (r *recorder) record(msg *nats.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, msg)
}

// subjectWith returns the subject of a message that contains a word, or "".
func (r *recorder) subjectWith(word string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, msg := range r.messages {
		if strings.Contains(string(msg.Data), word) || strings.Contains(msg.Subject, events.Token("@alice:example.org")) && strings.HasPrefix(msg.Subject, "$KV") {
			return msg.Subject
		}
	}
	return ""
}

// No role may write what belongs to another: a dispatcher, for example, publishes no room
// events (but the redacted form of state), creates no streams and sets no pushers.
func TestNoRoleWritesForAnother(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	g := startGuarded(t)
	g.start()
	room, user := events.Token("!room:example.org"), events.Token("@alice:example.org")
	var asking sync.WaitGroup
	for role, subjects := range map[string][]string{
		"dispatcher": {
			"room." + room + ".event", "room." + room + ".state._._", "rooms.0." + room + ".event", "state." + room + "._._",
			"account." + user + ".logout", "$KV.PUSHERS.0." + user, "$KV.VAPID.key", "$KV.PUSH_RULES.0." + user,
			"$JS.API.STREAM.CREATE.SPY", "$JS.API.STREAM.UPDATE.ROOMS", "$JS.API.STREAM.DELETE.ROOMS", "$JS.API.STREAM.PURGE.ROOMS", "$JS.API.STREAM.PURGE.NOTIFICATIONS",
			"poked.dispatcher.other.skip", "poked.dispatcher.other.retry",
		},
		"registry":   {"room." + room + ".state._._", "log.0", "$KV.BACKLOG.0.x", "$JS.API.STREAM.DELETE.ROOMS"},
		"operator":   append(waysToVAPID(), "$KV.PUSHERS.0."+user, "$KV.POSITIONS.match.0", "$JS.API.STREAM.DELETE.ROOMS", "$JS.API.CONSUMER.CREATE.KV_PUSHERS"),
		"homeserver": append(waysToVAPID(), "log.0", "rejected."+user, "dead.0."+user, "$JS.API.STREAM.DELETE.ROOMS"),
		"bridge": append(waysToVAPID(),
			"log.0", "rejected."+user, "$KV.PUSHERS.0."+user, "$JS.API.STREAM.CREATE.SPY", "$JS.API.STREAM.DELETE.ROOMS",
			"$JS.API.DIRECT.GET.NOTIFICATIONS", "$JS.API.CONSUMER.CREATE.NOTIFICATIONS",
		),
	} {
		nc := g.connect(role)
		for _, subject := range subjects {
			asking.Go(func() {
				if answer, err := nc.Request(subject, []byte(`{}`), time.Second); err == nil {
					t.Errorf("%s may publish to %s: %s", role, subject, answer.Data)
				}
			})
		}
	}
	asking.Wait()
	if n := g.messages(g.connect("registry"), "ROOMS"); n != 0 {
		t.Errorf("ROOMS holds %d events", n)
	}
	// The homeserver may publish, so the test can fail.
	publishAll(t, g.url("homeserver"), memberEvent("alice"))
}

// waysToVAPID returns the subjects by which the private key for Web Push could be read, or replaced.
func waysToVAPID() []string {
	return []string{
		"$KV.VAPID.key", "$JS.API.DIRECT.GET.KV_VAPID.$KV.VAPID.key", "$JS.API.DIRECT.GET.KV_VAPID", "$JS.API.STREAM.MSG.GET.KV_VAPID",
		"$JS.API.CONSUMER.CREATE.KV_VAPID", "$JS.API.CONSUMER.CREATE.KV_VAPID.spy", "$JS.API.CONSUMER.CREATE.KV_VAPID.spy.$KV.VAPID.key",
		"$JS.API.CONSUMER.DURABLE.CREATE.KV_VAPID.spy", "$JS.API.CONSUMER.MSG.NEXT.KV_VAPID.spy", "$JS.API.STREAM.SNAPSHOT.KV_VAPID",
	}
}

// TestRolesMayPublish publishes as each role on the subjects that no other test covers.
func TestRolesMayPublish(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	g := startGuarded(t)
	for role, subjects := range map[string][]string{
		"dispatcher": {
			"rejected.user", "dead.0.user", "log.0", "$KV.INBOX.0.user.room",
			"$KV.WORKERS.match.0", "$KV.BACKLOG.0.pusher", "$KV.GATEWAYS.paused.origin", "$JS.API.CONSUMER.CREATE.KV_WORKERS.name.$KV.WORKERS.>",
			"$JS.API.DIRECT.GET.KV_WORKERS.$KV.WORKERS.match.0", "$JS.API.STREAM.MSG.GET.KV_PUSHERS",
			"$JS.API.CONSUMER.CREATE.KV_VAPID.name.$KV.VAPID.key", "$JS.API.STREAM.MSG.GET.KV_VAPID",
			"$JS.API.STREAM.MSG.DELETE.NOTIFICATIONS", "$JS.API.DIRECT.GET.KV_INBOX", "$JS.API.STREAM.MSG.GET.KV_INBOX",
			"$JS.API.CONSUMER.CREATE.KV_INBOX.name.$KV.INBOX.0.user.*",
			"$SRV.PING.poked-dispatcher", "poked.dispatcher.other.state", "poked.dispatcher.other.gateways",
		},
		"registry": append(acknowledgements("ACCOUNTS", "REJECTED"), "$KV.VAPID.key", "$JS.API.STREAM.MSG.GET.KV_VAPID", "room.room.receipt", "room.room.event", "room.room.barrier", "poked.notifications.0", "poked.pushers.0.test", "poked.pushers.0.states"),
	} {
		g.mayPublish(role, subjects)
	}
}

// acknowledgements returns the subjects of acknowledgements for streams, in both formats,
// with all the tokens that a consumer's subjects have.
func acknowledgements(streams ...string) (subjects []string) {
	for _, stream := range streams {
		rest := stream + ".consumer.1.7.7.1700000000000000000.0"
		subjects = append(subjects, "$JS.ACK."+rest, "$JS.ACK._.Xm2pGhMN."+rest, "$JS.ACK.domain.Xm2pGhMN."+rest)
	}
	return subjects
}

// mayPublish fails the test if a role may not publish on one of the subjects.
func (g guarded) mayPublish(role string, subjects []string) {
	g.t.Helper()
	refused := make(chan error, 100)
	nc, err := nats.Connect(g.url(role), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		g.t.Fatal(err)
	}
	defer nc.Close()
	// Refusals arrive in order. No role may publish on this subject, so its refusal must be
	// the only one.
	for _, subject := range append(subjects, "nobody.may") {
		if err := nc.Publish(subject, nil); err != nil {
			g.t.Fatal(err)
		}
	}
	for err := range refused {
		if strings.Contains(err.Error(), "nobody.may") {
			return
		}
		g.t.Errorf("%s: %v", role, err)
	}
}
