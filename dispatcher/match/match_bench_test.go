package match

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/partition"
	"poked/events/publish"
	"poked/events/roomstore"
	"poked/events/wait"
)

// bigRoomSize is how many members with pushers the room of the benchmarks has. Every
// twentieth has ten keywords.
const bigRoomSize = 10_000

const bigRoom = events.RoomID("!r:example.org")

func bigRoomMember(i int) events.UserID {
	return events.UserID(fmt.Sprintf("@user%05d:example.org", i))
}

// bigRoomUsers registers the members and their rules.
func bigRoomUsers(b *testing.B) *population {
	b.Helper()
	w := newPopulation(b, 1, nil)
	for i := range bigRoomSize {
		id := bigRoomMember(i)
		w.dir.Apply(events.UserPushers{UserID: id, Pushers: []events.Pusher{eventstest.SomePusher(string(id))}})
		if i%20 != 1 {
			continue
		}
		set := events.UserPushRules{UserID: id}
		for k := range 10 {
			set.Changes.Content = append(set.Changes.Content, eventstest.Keyword(fmt.Sprintf("word%dof%d", k, i)).Content...)
		}
		w.dir.ApplyRules(set)
	}
	return w
}

// bigRoomState returns the state of their room.
func bigRoomState() (all []string) {
	all = append(all, fmt.Sprintf(`{"event_id":"$name","room_id":%q,"type":"m.room.name","sender":"@user00000:example.org","state_key":"","content":{"name":"Room"}}`, bigRoom))
	for i := range bigRoomSize {
		id := bigRoomMember(i)
		all = append(all, fmt.Sprintf(`{"event_id":"$m%d","room_id":%q,"type":"m.room.member","sender":%q,"state_key":%q,"content":{"membership":"join","displayname":"User %d"}}`,
			i, bigRoom, id, id, i))
	}
	return all
}

func bigRoomMessage(i int, kind string) string {
	return fmt.Sprintf(`{"event_id":"$e%d","room_id":%q,"type":%q,"sender":"@user00000:example.org","content":{"msgtype":"m.text","body":"The quick brown fox jumps over the lazy dog, number %d of many."}}`,
		i, bigRoom, kind, i)
}

func parsed(b *testing.B, raw string) *events.RoomEvent {
	b.Helper()
	ev, err := events.ParseRoomEvent([]byte(raw))
	if err != nil {
		b.Fatal(err)
	}
	return &ev
}

func bigRoomFolded(b *testing.B) *room {
	b.Helper()
	r := newRoom(bigRoom)
	for _, raw := range bigRoomState() {
		r.fold(parsed(b, raw))
	}
	return r
}

// BenchmarkEvaluate decides which of 10 000 members an event notifies: a message notifies
// nearly all, a reaction nobody.
func BenchmarkEvaluate(b *testing.B) {
	m, r := &Matcher{evaluator: evaluator{directory: bigRoomUsers(b).dir}}, bigRoomFolded(b)
	for _, kind := range []string{"m.room.message", "m.reaction"} {
		b.Run(kind, func(b *testing.B) {
			ev := parsed(b, bigRoomMessage(0, kind))
			b.ReportAllocs()
			defer perOp(b)()
			for b.Loop() {
				m.evaluator.evaluate(ev, r, "")
			}
		})
	}
}

// BenchmarkAudience updates the audience of a room of 10 000 members after one change: of a
// user elsewhere, of a member's rules, of a membership; and, for comparison, by looking up
// everybody.
func BenchmarkAudience(b *testing.B) {
	w, r := bigRoomUsers(b), bigRoomFolded(b)
	a, n := &r.audience, 0
	somewhere := func() {
		set := events.UserPushers{UserID: "@elsewhere:example.org"}
		if n++; n%2 == 0 {
			set.Pushers = []events.Pusher{eventstest.SomePusher("elsewhere")}
		}
		w.dir.Apply(set)
	}
	for name, change := range map[string]func(){
		"elsewhere": somewhere,
		"rules": func() {
			set := events.UserPushRules{UserID: bigRoomMember(5)}
			if n++; n%2 == 0 {
				set.Changes = eventstest.Keyword("cake")
			}
			w.dir.ApplyRules(set)
		},
		"membership": func() {
			n++
			r.fold(memberEvent(string(bigRoomMember(5)), []string{"join", "leave"}[n%2], ""))
		},
		"everybody": func() { somewhere(); a.complete = false },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			defer perOp(b)()
			for b.Loop() {
				change()
				a.refresh(r.members, w.dir)
			}
		})
	}
}

// BenchmarkMatch turns messages of a room of 10 000 members with pushers into
// notifications. The real server in this process is included in the figures. An operation
// is one notification; deliver does not run.
func BenchmarkMatch(b *testing.B) {
	cfg, put := startMatch(b, bigRoomUsers(b), bigRoomState())
	say := func(i int) { put(bigRoomMessage(i, "m.room.message")) }
	matchAll(b, cfg, func() { say(0) }, bigRoomSize-1)
	many := (b.N + bigRoomSize - 2) / (bigRoomSize - 1)
	matchAll(b, cfg, func() {
		for i := range many {
			say(i + 1)
		}
	}, many*(bigRoomSize-1))
}

// BenchmarkMatchSmallRooms is the same with 500 rooms of two members, of whom one has a pusher: an
// operation is one event and its only notification.
func BenchmarkMatchSmallRooms(b *testing.B) {
	const rooms = 500
	w, state := newPopulation(b, 1, nil), []string(nil)
	for i := range rooms {
		id := bigRoomMember(i)
		w.dir.Apply(events.UserPushers{UserID: id, Pushers: []events.Pusher{eventstest.SomePusher(string(id))}})
		for _, who := range []events.UserID{id, "@sender:example.org"} {
			state = append(state, fmt.Sprintf(`{"event_id":"$m%d%s","room_id":"!r%d:example.org","type":"m.room.member","sender":%q,"state_key":%q,"content":{"membership":"join"}}`, i, who, i, who, who))
		}
	}
	cfg, put := startMatch(b, w, state)
	say := func(i int) {
		put(fmt.Sprintf(`{"event_id":"$e%d","room_id":"!r%d:example.org","type":"m.room.message","sender":"@sender:example.org","origin_server_ts":%d,"content":{"msgtype":"m.text","body":"Dinner is ready"}}`,
			i, i%rooms, time.Now().UnixMilli()))
	}
	first := func() {
		for i := range rooms {
			say(i)
		}
	}
	matchAll(b, cfg, first, rooms)
	matchAll(b, cfg, func() {
		for i := range b.N {
			say(rooms + i)
		}
	}, b.N)
}

// startMatch starts the match stage of every partition, after the state of its rooms was
// published. put publishes another event.
func startMatch(b *testing.B, w *population, state []string) (cfg Config, put func(raw string, opts ...publish.Option)) {
	b.Helper()
	conn := natstest.StartServer(b).Connect(natstest.Topology())
	cfg = Config{
		Conn: conn, Rooms: roomstore.New(conn), Directory: w.dir, Counts: new(Counters), Owned: new(atomic.Int64),
		Unstored: NewUnstored(), OpenRooms: 1000, Log: slog.New(slog.DiscardHandler),
	}
	cfg.Owned.Store(int64(conn.Topology().Partitions))
	publisher := publish.NewPublisher(conn)
	failed := func(err error) {
		if err != nil {
			b.Error(err)
		}
	}
	put = func(raw string, opts ...publish.Option) { publisher.EventAsync([]byte(raw), failed, opts...) }
	for _, raw := range state {
		put(raw, publish.Historical())
	}
	runMatch(b, cfg)
	return cfg, put
}

// matchAll measures say, which publishes events, until they have notified so many users.
func matchAll(b *testing.B, cfg Config, say func(), notifications int) {
	b.Helper()
	stored := cfg.Counts.Notifications.Load() + uint64(notifications)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := eventstest.CPUTime(b)
	b.ResetTimer()
	b.StartTimer()
	say()
	eventstest.WaitFor(b, "all notifications", func() bool { return cfg.Counts.Notifications.Load() == stored })
	b.StopTimer()
	runtime.ReadMemStats(&after)
	n := float64(notifications)
	b.ReportMetric(n/b.Elapsed().Seconds(), "notifications/s")
	b.ReportMetric(float64((eventstest.CPUTime(b)-cpu).Microseconds())/n, "cpu-µs/notification")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, "allocs/notification")
}

// runMatch runs the match stage of every partition until the benchmark ends.
func runMatch(b *testing.B, cfg Config) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	for part := range cfg.Conn.Topology().Partitions {
		f, err := partition.NewGroup(cfg.Conn).Follow(ctx, partition.StageMatch, part, "bench")
		if err != nil {
			b.Fatal(err)
		}
		m, err := New(cfg, f)
		if err != nil {
			b.Fatal(err)
		}
		running.Go(func() {
			if err := m.Run(ctx, wait.Drain{}); err != nil {
				b.Error(err)
			}
		})
	}
	b.Cleanup(func() { cancel(); running.Wait() })
}

// perOp reports the CPU time of an operation, which depends less than elapsed time on other
// programs on the same machine.
func perOp(b *testing.B) (report func()) {
	b.Helper()
	began := eventstest.CPUTime(b)
	return func() { b.ReportMetric(float64((eventstest.CPUTime(b)-began).Nanoseconds())/float64(b.N), "cpu-ns/op") }
}
