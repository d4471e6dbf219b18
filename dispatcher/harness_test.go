package dispatcher

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poked/dispatcher/deliver"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/publish"
	"poked/events/pushgateway"
	"poked/events/stream"
)

func TestMain(m *testing.M) {
	eventstest.Prepare()
	m.Run()
}

// harness is a dispatcher with the NATS server and the gateway that it uses, in a bubble.
type harness struct {
	t       *testing.T
	server  *eventstest.Server
	conn    *stream.Conn // of the homeserver and the registry
	gateway *eventstest.Gateway
	cfg     Config
	hosts   []string // of gateways, besides gw.test and slow.test
	alone   bool     // the only dispatcher: it needs no lease
	log     eventstest.LogBuffer
	version int64

	*instance // the dispatcher that was started last
}

// instance is a dispatcher from its start to its end.
type instance struct {
	t       *testing.T
	d       *Dispatcher
	link    *eventstest.Link // its connection to NATS
	own     *stream.Conn     // over link
	sockets *poke.Conns      // its connections to gateways
	stop    context.CancelFunc
	stopped chan error
}

// bubble runs a test in fake time.
func bubble(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Helper()
	bubbleOf(t, eventstest.Topology().Partitions, test)
}

// bubbleOf runs a test in fake time with this many partitions. With -short only the tests
// of guarantees run.
func bubbleOf(t *testing.T, partitions int, test func(t *testing.T, h *harness)) {
	t.Helper()
	if !strings.HasPrefix(t.Name(), "TestG") {
		eventstest.Long(t)
	}
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		h := newHarnessOf(t, partitions)
		t.Cleanup(func() { <-time.After(time.Minute) }) // until fasthttp's cleaners have ended
		test(t, h)
	})
}

// spanHours makes hours of fake time cheap: NATS sends fewer heartbeats, and without a lease the
// dispatcher writes none. Call it before start.
func (h *harness) spanHours() { h.server.Pulse, h.alone = 2*time.Second, true }

func newHarness(t *testing.T) *harness {
	t.Helper()
	return newHarnessOf(t, eventstest.Topology().Partitions)
}

func newHarnessOf(t *testing.T, partitions int) *harness {
	t.Helper()
	h := &harness{
		t: t, server: eventstest.StartServer(t), gateway: eventstest.StartGateway(t),
		cfg: Config{
			Slots: 64, GatewaySlots: 16, GatewayFloor: 4, RequestTimeout: 75 * time.Second, PokeTTL: 24 * time.Hour,
			Badge: deliver.BadgeMessages, OpenRooms: 100, CatchUpLimit: 100, Recent: 1 << 20, StopGrace: 10 * time.Second,
		},
		instance: &instance{},
	}
	h.conn = h.server.Connect(stream.Topology{Partitions: partitions, Replicas: 1})
	return h
}

// start starts a dispatcher and waits until it works.
func (h *harness) start() {
	h.t.Helper()
	h.begin()
	<-h.d.Ready()
}

// begin starts a dispatcher.
func (h *harness) begin() {
	h.t.Helper()
	h.instance = &instance{t: h.t}
	policy, err := pushgateway.NewPolicy(append([]string{"gw.test", "slow.test"}, h.hosts...), nil, true)
	if err != nil {
		h.t.Fatal(err)
	}
	h.link, h.sockets = h.server.Link(), poke.NewConns(h.gateway.Dial)
	h.link.Killed = h.sockets.Close
	h.link.Log = slog.New(slog.NewTextHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.own = h.link.Connect(h.t, stream.Topology{Partitions: h.conn.Partitions(), Replicas: 1})
	h.d, err = New(h.cfg, policy, h.own, h.link.Log)
	if err != nil {
		h.t.Fatal(err)
	}
	h.d.dial = h.sockets.Dial
	ctx, cancel := context.WithCancel(h.t.Context())
	h.stop, h.stopped = cancel, make(chan error, 1)
	d := h.d
	run, stopped := d.Run, h.stopped // of this instance
	if h.alone {
		run = func(ctx context.Context) error { d.run(ctx, nil, d.group.OwnAll); return nil }
	}
	go func() { stopped <- run(ctx) }()
	h.t.Cleanup(h.halt)
}

// kill ends the dispatcher as a crash does: from now on nothing that it does reaches NATS
// or a gateway.
func (l *instance) kill() {
	l.link.Cut()
	l.stop()
	l.stop = nil
	if err := <-l.stopped; err != nil {
		l.t.Log("after the kill:", err)
	}
	_ = l.own.Close() // or it would try to reconnect for ever
}

// halt stops the dispatcher and waits for it.
func (l *instance) halt() {
	if l.stop == nil {
		return
	}
	l.stop()
	l.stop = nil
	if err := <-l.stopped; err != nil {
		l.t.Errorf("dispatcher: %v", err)
	}
}

// register sets the pushers of a user: these pushkeys, at a host.
func (h *harness) register(user events.UserID, host string, pushkeys ...string) {
	h.t.Helper()
	var pushers []events.Pusher
	for _, key := range pushkeys {
		pushers = append(pushers, events.Pusher{Pushkey: key, Data: dataAt(host)})
	}
	h.registerAll(user, pushers...)
}

func dataAt(host string) json.RawMessage {
	return json.RawMessage(`{"url":"http://` + host + `/_matrix/push/v1/notify","brand":"x"}`)
}

// registerAll sets the pushers of a user and fills in what all have in common.
func (h *harness) registerAll(user events.UserID, pushers ...events.Pusher) {
	h.t.Helper()
	h.version++
	for i := range pushers {
		p := &pushers[i]
		p.AppID, p.Kind, p.Lang, p.PushkeyTS = "app", "http", "en", h.version
		if p.Data == nil {
			p.Data = dataAt("gw.test")
		}
	}
	if err := h.conn.PutPushers(h.t.Context(), events.UserPushers{UserID: user, Version: h.version, Pushers: pushers}); err != nil {
		h.t.Fatal(err)
	}
	h.noticed()
}

// rules sets the push rules of a user.
func (h *harness) rules(user events.UserID, set events.UserPushRules) {
	h.t.Helper()
	h.version++
	set.UserID, set.Version = user, h.version
	if err := h.conn.PutPushRules(h.t.Context(), set); err != nil {
		h.t.Fatal(err)
	}
	h.noticed()
}

// noticed waits as long as the dispatcher may take to notice a change.
func (h *harness) noticed() {
	if h.d != nil {
		<-time.After(time.Second)
	}
}

// registerMany registers n users with a pusher each, at a host, and returns them. The
// pushkeys are the names of the users.
func (h *harness) registerMany(n int, host, name string) []events.UserID {
	h.t.Helper()
	users := make([]events.UserID, n)
	for i := range users {
		key := fmt.Sprintf("%s%d", name, i)
		users[i] = events.UserID("@" + key + ":x")
		h.register(users[i], host, key)
	}
	return users
}

func (h *harness) publish(raw string) {
	h.t.Helper()
	if err := publish.NewPublisher(h.conn).Event(h.t.Context(), []byte(raw)); err != nil {
		h.t.Fatal(err)
	}
}

// room publishes a room with these members joined; its name is "Room".
func (h *harness) room(id events.RoomID, members ...events.UserID) {
	h.t.Helper()
	h.roomOf(id, "11", members...)
}

// roomOf is room with a room version.
func (h *harness) roomOf(id events.RoomID, version string, members ...events.UserID) {
	h.t.Helper()
	state := func(kind, key, content string) {
		h.publish(fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":%q,"sender":%q,"state_key":%q,"origin_server_ts":%d,"content":%s}`,
			"$"+string(id)+kind+key, id, kind, members[0], key, time.Now().UnixMilli(), content))
	}
	state("m.room.create", "", `{"room_version":"`+version+`"}`)
	for _, m := range members {
		state("m.room.member", string(m), `{"membership":"join","displayname":"`+strings.TrimPrefix(strings.Split(string(m), ":")[0], "@")+`"}`)
	}
	state("m.room.name", "", `{"name":"Room"}`)
}

// say publishes n messages numbered from first.
func (h *harness) say(room events.RoomID, sender events.UserID, first, n int) {
	h.t.Helper()
	for i := first; i < first+n; i++ {
		h.publish(fmt.Sprintf(`{"event_id":"$%s-%d","room_id":%q,"type":"m.room.message","sender":%q,"origin_server_ts":%d,"content":{"msgtype":"m.text","body":"hello %d"}}`,
			strings.Trim(string(room), "!"), i, room, sender, time.Now().UnixMilli(), i))
	}
}

// arrived waits until the gateway has accepted n pokes, and returns all that it accepted.
func (h *harness) arrived(n int) []eventstest.Poke {
	h.t.Helper()
	eventstest.WaitFor(h.t, fmt.Sprintf("%d pokes", n), func() bool { return len(h.gateway.Pokes()) >= n })
	return h.gateway.Pokes()
}

// delivered returns the event ids of a pushkey's pokes, in order.
func delivered(pokes []eventstest.Poke, pushkey string) string {
	var ids []string
	for _, p := range pokes {
		if p.Pushkey == pushkey {
			ids = append(ids, strings.TrimPrefix(string(p.EventID), "$"))
		}
	}
	return strings.Join(ids, " ")
}

// always is a gateway that gives the same answer to every poke.
func always(reply eventstest.Reply) func(eventstest.Poke) eventstest.Reply {
	return func(eventstest.Poke) eventstest.Reply { return reply }
}

// down is a gateway that answers 502.
func down() func(eventstest.Poke) eventstest.Reply {
	return always(eventstest.Reply{Status: http.StatusBadGateway})
}

// up is a gateway that accepts every poke.
func up() func(eventstest.Poke) eventstest.Reply { return always(eventstest.Reply{}) }
