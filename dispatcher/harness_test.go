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

// house is a dispatcher with all that it stands on, inside a bubble.
type house struct {
	t       *testing.T
	server  *eventstest.Server
	conn    *stream.Conn // the homeserver's and the registry's
	gateway *eventstest.Gateway
	cfg     Config
	hosts   []string // of gateways, besides gw.test and slow.test
	alone   bool     // no other dispatcher will ever be there: it needs no lease
	log     eventstest.LogBuffer
	version int64

	*life // the dispatcher that was begun last
}

// life is one life of a dispatcher.
type life struct {
	t       *testing.T
	d       *Dispatcher
	link    *eventstest.Link // its way to NATS
	own     *stream.Conn     // over it
	sockets *poke.Conns      // its ways to gateways
	stop    context.CancelFunc
	stopped chan error
}

// bubble tells a story in fake time.
func bubble(t *testing.T, story func(t *testing.T, h *house)) {
	t.Helper()
	bubbleOf(t, eventstest.Topology().Partitions, story)
}

// bubbleOf tells a story with this many partitions. Of all stories, short runs tell
// those of the guarantees.
func bubbleOf(t *testing.T, partitions int, story func(t *testing.T, h *house)) {
	t.Helper()
	if !strings.HasPrefix(t.Name(), "TestG") {
		eventstest.Long(t)
	}
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		h := newHouseOf(t, partitions)
		t.Cleanup(func() { <-time.After(time.Minute) }) // fasthttp's cleaners sleep out their turn
		story(t, h)
	})
}

func newHouse(t *testing.T) *house {
	t.Helper()
	return newHouseOf(t, eventstest.Topology().Partitions)
}

func newHouseOf(t *testing.T, partitions int) *house {
	t.Helper()
	h := &house{
		t: t, server: eventstest.StartServer(t), gateway: eventstest.StartGateway(t),
		cfg: Config{
			Slots: 64, GatewaySlots: 16, GatewayFloor: 4, RequestTimeout: 75 * time.Second, PokeTTL: 24 * time.Hour,
			Badge: deliver.BadgeMessages, OpenRooms: 100, CatchUpLimit: 100, StopGrace: 10 * time.Second,
		},
		life: &life{},
	}
	h.conn = h.server.Connect(stream.Topology{Partitions: partitions, Replicas: 1})
	return h
}

// start starts a dispatcher and waits until it works.
func (h *house) start() {
	h.t.Helper()
	h.begin()
	<-h.d.Ready()
}

// begin starts a dispatcher.
func (h *house) begin() {
	h.t.Helper()
	h.life = &life{t: h.t}
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
	run, stopped := d.Run, h.stopped // of this life
	if h.alone {
		run = func(ctx context.Context) error { d.run(ctx, nil, d.group.OwnAll); return nil }
	}
	go func() { stopped <- run(ctx) }()
	h.t.Cleanup(h.halt)
}

// kill has the dispatcher die without a word: from one moment to the next
// nothing that it does reaches NATS or a gateway.
func (l *life) kill() {
	l.link.Cut()
	l.stop()
	l.stop = nil
	if err := <-l.stopped; err != nil {
		l.t.Log("nobody hears of", err)
	}
	_ = l.own.Close() // or it would try to reconnect for ever
}

// halt stops the dispatcher and waits for it.
func (l *life) halt() {
	if l.stop == nil {
		return
	}
	l.stop()
	l.stop = nil
	if err := <-l.stopped; err != nil {
		l.t.Errorf("dispatcher: %v", err)
	}
}

// register makes pushkeys the pushers of a user, at a host.
func (h *house) register(user events.UserID, host string, pushkeys ...string) {
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

// registerAll makes pushers those of a user; what all have in common is filled
// in.
func (h *house) registerAll(user events.UserID, pushers ...events.Pusher) {
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
	h.heard()
}

// rules makes set the push rules of a user.
func (h *house) rules(user events.UserID, set events.UserPushRules) {
	h.t.Helper()
	h.version++
	set.UserID, set.Version = user, h.version
	if err := h.conn.PutPushRules(h.t.Context(), set); err != nil {
		h.t.Fatal(err)
	}
	h.heard()
}

// heard waits as long as the dispatcher may take to hear of a change.
func (h *house) heard() {
	if h.d != nil {
		<-time.After(time.Second)
	}
}

// registerMany makes n users with a pusher each, at a host, and returns them. The
// pushkeys are the names of the users.
func (h *house) registerMany(n int, host, name string) []events.UserID {
	h.t.Helper()
	users := make([]events.UserID, n)
	for i := range users {
		key := fmt.Sprintf("%s%d", name, i)
		users[i] = events.UserID("@" + key + ":x")
		h.register(users[i], host, key)
	}
	return users
}

func (h *house) publish(raw string) {
	h.t.Helper()
	if err := publish.NewPublisher(h.conn).Event(h.t.Context(), []byte(raw)); err != nil {
		h.t.Fatal(err)
	}
}

// room publishes a room with these members joined; its name is "Room".
func (h *house) room(id events.RoomID, members ...events.UserID) {
	h.t.Helper()
	state := func(kind, key, content string) {
		h.publish(fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":%q,"sender":%q,"state_key":%q,"origin_server_ts":%d,"content":%s}`,
			"$"+string(id)+kind+key, id, kind, members[0], key, time.Now().UnixMilli(), content))
	}
	state("m.room.create", "", `{"room_version":"11"}`)
	for _, m := range members {
		state("m.room.member", string(m), `{"membership":"join","displayname":"`+strings.TrimPrefix(strings.Split(string(m), ":")[0], "@")+`"}`)
	}
	state("m.room.name", "", `{"name":"Room"}`)
}

// say publishes n messages numbered from first.
func (h *house) say(room events.RoomID, sender events.UserID, first, n int) {
	h.t.Helper()
	for i := first; i < first+n; i++ {
		h.publish(fmt.Sprintf(`{"event_id":"$%s-%d","room_id":%q,"type":"m.room.message","sender":%q,"origin_server_ts":%d,"content":{"msgtype":"m.text","body":"hello %d"}}`,
			strings.Trim(string(room), "!"), i, room, sender, time.Now().UnixMilli(), i))
	}
}

// arrived waits until n pokes have been taken.
func (h *house) arrived(n int) []eventstest.Poke {
	h.t.Helper()
	eventstest.WaitFor(h.t, fmt.Sprintf("%d pokes", n), func() bool { return len(h.gateway.Pokes()) >= n })
	return h.gateway.Pokes()
}

// delivered returns the event ids that a pushkey was told, in order.
func delivered(pokes []eventstest.Poke, pushkey string) string {
	var ids []string
	for _, p := range pokes {
		if p.Pushkey == pushkey {
			ids = append(ids, strings.TrimPrefix(string(p.EventID), "$"))
		}
	}
	return strings.Join(ids, " ")
}

// always has the gateway give the same answer.
func always(reply eventstest.Reply) func(eventstest.Poke) eventstest.Reply {
	return func(eventstest.Poke) eventstest.Reply { return reply }
}

// down is the answer of a gateway that is out of order.
func down() func(eventstest.Poke) eventstest.Reply {
	return always(eventstest.Reply{Status: http.StatusBadGateway})
}

// up is the answer of one that works.
func up() func(eventstest.Poke) eventstest.Reply { return always(eventstest.Reply{}) }
