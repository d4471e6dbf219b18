// Package dispatchertest is what the tests of a whole dispatcher share: a dispatcher between a
// real NATS server and a gateway, in a bubble of fake time, with what operators, clients and
// homeservers do to it, and the checks that hold at the end of every test. Only test files
// import it.
//
// Tests in one process run one after the other: bubbles share pools with the process, and
// NATS its clock. So the tests are packages, by subject, which run beside one another:
//
//	dispatcher                          who is notified of what, bad input, what operators see
//	dispatcher/dispatchertest/gateways  gateways that fail, hang or ask for a pause
//	dispatcher/dispatchertest/pokes     what a poke holds, and what becomes of one that is refused, too large or late
//	dispatcher/dispatchertest/owners    crashes, faults of NATS, partitions that move
//	dispatcher/dispatchertest/reads     unread counts, receipts, redactions, repeated events
package dispatchertest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poked/dispatcher"
	"poked/dispatcher/deliver"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/operator"
	"poked/events/publish"
	"poked/events/pushgateway"
	"poked/events/pushrule"
	"poked/events/stream"
	"poked/events/webpush"
)

// Harness is a dispatcher with the NATS server and the gateway that it uses, in a bubble.
type Harness struct {
	T        *testing.T
	Server   *natstest.Server
	Conn     *stream.Conn     // of the homeserver and the registry
	Operator *operator.Client // over Conn
	Gateway  *eventstest.Gateway
	Topology stream.Topology // of dispatchers; without OUTCOMES unless a test wants it
	Config   dispatcher.Config
	Hosts    []string // of gateways, besides gw.test and slow.test
	Alone    bool     // the only dispatcher: it needs no lease
	Log      eventstest.LogBuffer
	Version  int64 // of the pushers or push rules that were set last

	*Instance // the dispatcher that was started last
}

// Instance is a dispatcher from its start to its end.
type Instance struct {
	t          *testing.T
	Dispatcher *dispatcher.Dispatcher
	Link       *natstest.Link // its connection to NATS
	Own        *stream.Conn   // over link
	sockets    *poke.Conns    // its connections to gateways
	stop       context.CancelFunc
	stopped    chan error
}

// Bubble runs a test in fake time.
func Bubble(t *testing.T, test func(t *testing.T, h *Harness)) {
	t.Helper()
	BubbleOf(t, natstest.Topology().Partitions, test)
}

// BubbleOf runs a test in fake time with this many partitions. With -short only the tests
// of guarantees run.
func BubbleOf(t *testing.T, partitions int, test func(t *testing.T, h *Harness)) {
	t.Helper()
	if !strings.HasPrefix(t.Name(), "TestG") {
		eventstest.Long(t)
	}
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		t.Cleanup(func() { <-time.After(time.Minute) }) // until fasthttp's cleaners have ended
		test(t, newOf(t, partitions))
	})
}

// Bubbles returns [Bubble] and [BubbleOf] for a package whose own type H embeds the harness, so
// that its helpers are methods.
func Bubbles[H ~struct{ *Harness }]() (bubble func(*testing.T, func(*testing.T, *H)), bubbleOf func(*testing.T, int, func(*testing.T, *H))) {
	own := func(test func(*testing.T, *H)) func(*testing.T, *Harness) {
		return func(t *testing.T, h *Harness) { t.Helper(); test(t, &H{h}) }
	}
	bubble = func(t *testing.T, test func(*testing.T, *H)) { t.Helper(); Bubble(t, own(test)) }
	bubbleOf = func(t *testing.T, partitions int, test func(*testing.T, *H)) {
		t.Helper()
		BubbleOf(t, partitions, own(test))
	}
	return bubble, bubbleOf
}

// SpanHours makes hours of fake time cheap: NATS sends fewer heartbeats, and without a lease the
// dispatcher writes none. Its clock ticks every five seconds instead of four times a second: a test
// of something that must happen sooner sets Server.Pulse after it. Call it before start.
func (h *Harness) SpanHours() { h.Server.Pulse, h.Alone = 10*time.Second, true }

// New returns a harness outside a bubble, for tests that need real time.
func New(t *testing.T) *Harness {
	t.Helper()
	return newOf(t, natstest.Topology().Partitions)
}

func newOf(t *testing.T, partitions int) *Harness {
	t.Helper()
	h := &Harness{
		T: t, Server: natstest.StartServer(t), Gateway: eventstest.StartGateway(t),
		Config: dispatcher.Config{
			Slots: 64, GatewaySlots: 16, GatewayFloor: 4, RequestTimeout: 75 * time.Second, PokeTTL: 24 * time.Hour,
			Badge: deliver.BadgeMessages, Rings: true, OpenRooms: 100, CatchUpLimit: 100, Recent: 1 << 20, StopGrace: 10 * time.Second,
		},
		Instance: &Instance{},
	}
	h.Topology = natstest.Streams(stream.Topology{Partitions: partitions, Replicas: 1, Keep: stream.LongestKeep})
	h.Conn = h.Server.Connect(h.Topology)
	h.Operator = operator.NewClient(h.Conn)
	return h
}

// Start starts a dispatcher and waits until it works.
func (h *Harness) Start() {
	h.T.Helper()
	h.Begin()
	<-h.Dispatcher.Ready()
}

// Begin starts a dispatcher.
func (h *Harness) Begin() {
	h.T.Helper()
	h.Instance = &Instance{t: h.T}
	policy, err := pushgateway.NewPolicy(append([]string{"gw.test", "slow.test"}, h.Hosts...), nil, true)
	if err != nil {
		h.T.Fatal(err)
	}
	h.Link, h.sockets = h.Server.Link(), poke.NewConns(h.Gateway.Dial)
	h.Link.Killed = h.sockets.Close
	h.Link.Log = slog.New(slog.NewTextHandler(&h.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.Own = h.Link.Connect(h.T, h.Topology)
	h.Dispatcher, err = dispatcher.New(h.Config, policy, h.Own, h.Link.Log)
	if err != nil {
		h.T.Fatal(err)
	}
	h.Dispatcher.DialWith(h.sockets.Dial)
	ctx, cancel := context.WithCancel(h.T.Context())
	h.stop, h.stopped = cancel, make(chan error, 1)
	d := h.Dispatcher
	run, stopped := d.Run, h.stopped // of this instance
	if h.Alone {
		run = d.RunAlone
	}
	go func() { stopped <- run(ctx) }()
	h.T.Cleanup(h.Halt)
}

// Kill ends the dispatcher as a crash does: from now on nothing that it does reaches NATS
// or a gateway.
func (l *Instance) Kill() {
	l.Link.Cut()
	l.stop()
	l.stop = nil
	if err := <-l.stopped; err != nil {
		l.t.Log("after the kill:", err)
	}
	_ = l.Own.Close() // or it would try to reconnect for ever
}

// Halt stops the dispatcher and waits for it.
func (l *Instance) Halt() {
	if l.stop == nil {
		return
	}
	l.stop()
	l.stop = nil
	if err := <-l.stopped; err != nil {
		l.t.Errorf("dispatcher: %v", err)
	}
}

// Register sets the pushers of a user: these pushkeys, at a host.
func (h *Harness) Register(user events.UserID, host string, pushkeys ...string) {
	h.T.Helper()
	var pushers []events.Pusher
	for _, key := range pushkeys {
		pushers = append(pushers, events.Pusher{Pushkey: key, Data: DataAt(host)})
	}
	h.RegisterAll(user, pushers...)
}

// WithVAPID gives the dispatcher the key for browsers, as the registry does.
func (h *Harness) WithVAPID() *webpush.Key {
	h.T.Helper()
	key, err := webpush.NewKey()
	if err == nil {
		err = h.Conn.PutVAPID(h.T.Context(), events.VAPID{PrivateKey: key.Secret(), Subject: "mailto:push@matrix.org"})
	}
	if err != nil {
		h.T.Fatal(err)
	}
	return key
}

// DataAt is the data of a pusher whose gateway is at host.
func DataAt(host string) json.RawMessage {
	return json.RawMessage(`{"url":"http://` + host + `/_matrix/push/v1/notify","brand":"x"}`)
}

// RegisterAll sets the pushers of a user and fills in what all have in common.
func (h *Harness) RegisterAll(user events.UserID, pushers ...events.Pusher) {
	h.T.Helper()
	h.Version++
	for i := range pushers {
		p := &pushers[i]
		p.AppID, p.Kind, p.Lang, p.PushkeyTS = "app", cmp.Or(p.Kind, events.KindHTTP), "en", h.Version
		if p.Data == nil {
			p.Data = DataAt("gw.test")
		}
	}
	if err := h.Conn.PutPushers(h.T.Context(), events.UserPushers{UserID: user, Version: h.Version, Pushers: pushers}); err != nil {
		h.T.Fatal(err)
	}
	h.Noticed()
}

// Rules sets the push rules of a user.
func (h *Harness) Rules(user events.UserID, set events.UserPushRules) {
	h.T.Helper()
	h.Version++
	set.UserID, set.Version = user, h.Version
	if err := h.Conn.PutPushRules(h.T.Context(), set); err != nil {
		h.T.Fatal(err)
	}
	h.Noticed()
}

// Noticed waits as long as the dispatcher may take to notice a change.
func (h *Harness) Noticed() {
	if h.Dispatcher != nil {
		<-time.After(time.Second)
	}
}

// RegisterMany registers n users with a pusher each, at a host, and returns them. The
// pushkeys are the names of the users.
func (h *Harness) RegisterMany(n int, host, name string) []events.UserID {
	h.T.Helper()
	users := make([]events.UserID, n)
	for i := range users {
		key := fmt.Sprintf("%s%d", name, i)
		users[i] = events.UserID("@" + key + ":x")
		h.Register(users[i], host, key)
	}
	return users
}

// Publish publishes a room event as a homeserver does.
func (h *Harness) Publish(raw string) {
	h.T.Helper()
	if err := publish.NewPublisher(h.Conn).Event(h.T.Context(), []byte(raw)); err != nil {
		h.T.Fatal(err)
	}
}

// Room publishes a room with these members joined; its name is "Room".
func (h *Harness) Room(id events.RoomID, members ...events.UserID) {
	h.T.Helper()
	h.RoomOf(id, "11", members...)
}

// RoomOf is room with a room version.
func (h *Harness) RoomOf(id events.RoomID, version string, members ...events.UserID) {
	h.T.Helper()
	state := func(kind, key, content string) {
		h.Publish(fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":%q,"sender":%q,"state_key":%q,"origin_server_ts":%d,"content":%s}`,
			"$"+string(id)+kind+key, id, kind, members[0], key, time.Now().UnixMilli(), content))
	}
	state("m.room.create", "", `{"room_version":"`+version+`"}`)
	for _, m := range members {
		state("m.room.member", string(m), `{"membership":"join","displayname":"`+strings.TrimPrefix(strings.Split(string(m), ":")[0], "@")+`"}`)
	}
	state("m.room.name", "", `{"name":"Room"}`)
}

// Say publishes n messages numbered from first.
func (h *Harness) Say(room events.RoomID, sender events.UserID, first, n int) {
	h.T.Helper()
	for i := first; i < first+n; i++ {
		h.Publish(fmt.Sprintf(`{"event_id":"$%s-%d","room_id":%q,"type":"m.room.message","sender":%q,"origin_server_ts":%d,"content":{"msgtype":"m.text","body":"hello %d"}}`,
			strings.Trim(string(room), "!"), i, room, sender, time.Now().UnixMilli(), i))
	}
}

// Arrived waits until the gateway has accepted n pokes, and returns all that it accepted.
func (h *Harness) Arrived(n int) []eventstest.Poke {
	h.T.Helper()
	eventstest.WaitFor(h.T, fmt.Sprintf("%d pokes", n), func() bool { return len(h.Gateway.Pokes()) >= n })
	return h.Gateway.Pokes()
}

// Delivered returns the event ids of the pokes that the gateway accepted for a pushkey, in order.
func (h *Harness) Delivered(pushkey string) string { return Delivered(h.Gateway.Pokes(), pushkey) }

// Delivered returns the event ids of a pushkey's pokes, in order.
func Delivered(pokes []eventstest.Poke, pushkey string) string {
	var ids []string
	for _, p := range pokes {
		if p.Pushkey == pushkey {
			ids = append(ids, strings.TrimPrefix(string(p.EventID), "$"))
		}
	}
	return strings.Join(ids, " ")
}

// GatewayDown makes the gateway answer 502.
func (h *Harness) GatewayDown() { h.Gateway.Answer(Down()) }

// GatewayUp makes the gateway accept every poke.
func (h *Harness) GatewayUp() { h.Gateway.Answer(Up()) }

// Always is a gateway that gives the same answer to every poke.
func Always(reply eventstest.Reply) func(eventstest.Poke) eventstest.Reply {
	return func(eventstest.Poke) eventstest.Reply { return reply }
}

// Down is a gateway that answers 502.
func Down() func(eventstest.Poke) eventstest.Reply {
	return Always(eventstest.Reply{Status: http.StatusBadGateway})
}

// Up is a gateway that accepts every poke.
func Up() func(eventstest.Poke) eventstest.Reply { return Always(eventstest.Reply{}) }

// RepeatsOfKill is how many pokes of a burst may be answered so shortly before a kill that
// their outcome is not stored.
const RepeatsOfKill = 3

// Revive starts the dispatcher again if it was killed.
func (h *Harness) Revive() {
	h.T.Helper()
	if !h.Link.Dead() {
		return
	}
	h.Kill()
	h.Start()
}

// Receipt publishes that a user has read a room up to an event. thread is appended to the
// receipt's content, such as `,"thread_id":"main"`.
func (h *Harness) Receipt(room events.RoomID, user events.UserID, kind string, event events.EventID, thread string) {
	h.T.Helper()
	raw := fmt.Sprintf(`{"type":"m.receipt","room_id":%q,"content":{%q:{%q:{%q:{"ts":1%s}}}}}`, room, event, kind, user, thread)
	if err := publish.NewPublisher(h.Conn).Receipt(h.T.Context(), []byte(raw)); err != nil {
		h.T.Fatal(err)
	}
}

// Mark publishes that a user marked a room as unread, or took that back.
func (h *Harness) Mark(room events.RoomID, user events.UserID, unread bool) {
	h.T.Helper()
	if err := publish.NewPublisher(h.Conn).MarkedUnread(h.T.Context(), room, user, unread); err != nil {
		h.T.Fatal(err)
	}
}

// Subscribe publishes that a user is subscribed to a thread, or not any more.
func (h *Harness) Subscribe(room events.RoomID, thread events.EventID, user events.UserID, subscribed bool) {
	h.T.Helper()
	if err := publish.NewPublisher(h.Conn).ThreadSubscription(h.T.Context(), events.ThreadSubscription{
		RoomID: room, Thread: thread, UserID: user, Subscribed: subscribed,
	}); err != nil {
		h.T.Fatal(err)
	}
}

// Master enables .m.rule.master, which turns all notifications off.
func Master() pushrule.Changes {
	on := true
	return pushrule.Changes{Predefined: map[string]pushrule.Change{".m.rule.master": {Enabled: &on}}}
}
