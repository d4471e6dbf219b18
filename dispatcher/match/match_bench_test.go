package match

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/partition"
	"poked/events/publish"
	"poked/events/wait"
)

// throng is how many members with pushers the room of the benchmarks has; every
// twentieth has ten keywords.
const throng = 10_000

const throngRoom = events.RoomID("!r:example.org")

func throngMember(i int) events.UserID {
	return events.UserID(fmt.Sprintf("@user%05d:example.org", i))
}

// throngTown registers the members and their rules.
func throngTown(b *testing.B) *town {
	b.Helper()
	w := newTown(b, 1, nil)
	for i := range throng {
		id := throngMember(i)
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

// throngState is the state of their room.
func throngState() (all []string) {
	all = append(all, fmt.Sprintf(`{"event_id":"$name","room_id":%q,"type":"m.room.name","sender":"@user00000:example.org","state_key":"","content":{"name":"Room"}}`, throngRoom))
	for i := range throng {
		id := throngMember(i)
		all = append(all, fmt.Sprintf(`{"event_id":"$m%d","room_id":%q,"type":"m.room.member","sender":%q,"state_key":%q,"content":{"membership":"join","displayname":"User %d"}}`,
			i, throngRoom, id, id, i))
	}
	return all
}

func throngMessage(i int, kind string) string {
	return fmt.Sprintf(`{"event_id":"$e%d","room_id":%q,"type":%q,"sender":"@user00000:example.org","content":{"msgtype":"m.text","body":"The quick brown fox jumps over the lazy dog, number %d of many."}}`,
		i, throngRoom, kind, i)
}

func parsed(b *testing.B, raw string) *events.RoomEvent {
	b.Helper()
	ev, err := events.ParseRoomEvent([]byte(raw))
	if err != nil {
		b.Fatal(err)
	}
	return &ev
}

func throngFolded(b *testing.B) *room {
	b.Helper()
	r := newRoom(throngRoom)
	for _, raw := range throngState() {
		r.fold(parsed(b, raw))
	}
	return r
}

// BenchmarkEvaluate decides who of 10 000 members is notified: of a message,
// which are nearly all, and of a reaction, which is nobody.
func BenchmarkEvaluate(b *testing.B) {
	m, r := &Matcher{cfg: Config{Directory: throngTown(b).dir}}, throngFolded(b)
	for _, kind := range []string{"m.room.message", "m.reaction"} {
		b.Run(kind, func(b *testing.B) {
			ev := parsed(b, throngMessage(0, kind))
			b.ReportAllocs()
			defer perOp(b)()
			for b.Loop() {
				m.evaluate(ev, r)
			}
		})
	}
}

// BenchmarkAudience brings what a room of 10 000 members remembers up to date
// after one change: of somebody elsewhere, of a member's rules, of who is a
// member; and, for comparison, by looking at everybody.
func BenchmarkAudience(b *testing.B) {
	w, r := throngTown(b), throngFolded(b)
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
			set := events.UserPushRules{UserID: throngMember(5)}
			if n++; n%2 == 0 {
				set.Changes = eventstest.Keyword("cake")
			}
			w.dir.ApplyRules(set)
		},
		"membership": func() {
			n++
			r.fold(memberEvent(string(throngMember(5)), []string{"join", "leave"}[n%2], ""))
		},
		"everybody": func() { somewhere(); a.complete = false },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			defer perOp(b)()
			for b.Loop() {
				change()
				a.follow(r.members, w.dir)
			}
		})
	}
}

// BenchmarkMatch takes messages of a room of 10 000 members with pushers from
// ROOMS to NOTIFICATIONS, over a real server in this process, whose share is in
// the figures. An operation is one notification; deliver does not run.
func BenchmarkMatch(b *testing.B) {
	cfg, say := matchingThrong(b)
	many := (b.N + throng - 2) / (throng - 1)
	stored := cfg.Counts.Notifications.Load() + uint64(many)*(throng-1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := cpuTime(b)
	b.ResetTimer()
	for i := range many {
		say(i + 1)
	}
	eventstest.WaitFor(b, "all notifications", func() bool { return cfg.Counts.Notifications.Load() == stored })
	b.StopTimer()
	runtime.ReadMemStats(&after)
	n := float64(many * (throng - 1))
	b.ReportMetric(n/b.Elapsed().Seconds(), "notifications/s")
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/n, "cpu-µs/notification")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, "allocs/notification")
}

// BenchmarkMatchAgain finds out that all notifications of an event in that room
// are stored already.
func BenchmarkMatchAgain(b *testing.B) {
	cfg, _ := matchingThrong(b)
	m := &Matcher{cfg: cfg}
	ev, r := parsed(b, throngMessage(0, "m.room.message")), throngFolded(b)
	msg := partition.Message{Seq: throng + 2, Time: time.Now()} // it came after the members and the name
	defer perOp(b)()
	for b.Loop() {
		notified := m.evaluate(ev, r)
		if len(notified) != throng-1 {
			b.Fatalf("%d notified", len(notified))
		}
		if missing, err := m.withoutStored(b.Context(), msg, ev, "", notified); err != nil || len(missing) > 0 {
			b.Fatalf("%d are missing: %v", len(missing), err)
		}
	}
}

// matchingThrong starts the match stage of every partition, and matches the first
// message of the room. say publishes another.
func matchingThrong(b *testing.B) (cfg Config, say func(i int)) {
	b.Helper()
	conn := eventstest.StartServer(b).Connect(eventstest.Topology())
	cfg = Config{
		Conn: conn, Directory: throngTown(b).dir, Counts: new(Counters), Owned: new(atomic.Int64),
		Unstored: NewUnstored(), OpenRooms: 100, Log: slog.New(slog.DiscardHandler),
	}
	cfg.Owned.Store(int64(conn.Partitions()))
	publisher := publish.NewPublisher(conn)
	put := func(raw string, opts ...publish.Option) {
		publisher.EventAsync([]byte(raw), func(err error) {
			if err != nil {
				b.Error(err)
			}
		}, opts...)
	}
	for _, raw := range throngState() {
		put(raw, publish.Historical())
	}
	runMatch(b, cfg)
	say = func(i int) { put(throngMessage(i, "m.room.message")) }
	say(0)
	eventstest.WaitFor(b, "the first event", func() bool { return cfg.Counts.Notifications.Load() == throng-1 })
	return cfg, say
}

// runMatch runs the match stage of every partition until the benchmark ends.
func runMatch(b *testing.B, cfg Config) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	for part := range cfg.Conn.Partitions() {
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

// perOp reports the CPU time of an operation, which other programs on the same
// machine do not change as they do the time it takes.
func perOp(b *testing.B) (report func()) {
	b.Helper()
	began := cpuTime(b)
	return func() { b.ReportMetric(float64((cpuTime(b)-began).Nanoseconds())/float64(b.N), "cpu-ns/op") }
}

// cpuTime returns the CPU time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
