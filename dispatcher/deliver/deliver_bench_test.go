package deliver

import (
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/partition"
	"poked/events/pushgateway"
)

// benchUsers is how many users the notifications of BenchmarkDeliver are for, in turn.
const benchUsers = 1000

// BenchmarkDeliver hands the deliverer of a partition notifications of one user each, as the
// follower does, and waits until all of them are delivered to a cheap gateway over kept
// connections. An operation is one poke. NATS does nothing meanwhile but store positions.
func BenchmarkDeliver(b *testing.B) {
	d := benchDeliverer(b)
	seq := uint64(0)
	messages := func(n int) (all []partition.Message) {
		for range n {
			seq++
			all = append(all, partition.Message{Seq: seq, Time: time.Now(), Data: benchMessage(seq)})
		}
		return all
	}
	deliver := func(all []partition.Message) {
		for _, msg := range all {
			d.handle(b.Context(), msg)
			for d.Counts.Outstanding() > 256 {
				<-time.After(100 * time.Microsecond)
			}
		}
		eventstest.WaitFor(b, "all pokes", func() bool { return d.Counts.Outstanding() == 0 })
	}
	deliver(messages(benchUsers)) // loads their inboxes and opens the connections
	all := messages(b.N)
	b.ReportAllocs()
	cpu := eventstest.CPUTime(b)
	b.ResetTimer()
	deliver(all)
	b.StopTimer()
	if delivered := d.Counts.Fate(FateDelivered); delivered != seq {
		b.Errorf("%d of %d delivered", delivered, seq)
	}
	b.ReportMetric(float64((eventstest.CPUTime(b)-cpu).Microseconds())/float64(b.N), "cpu-µs/poke")
}

// benchMessage returns a message of the log.
func benchMessage(seq uint64) []byte {
	n := events.LogNotification{
		RoomID: "!room:example.org", About: events.About{EventID: events.EventID(fmt.Sprint("$", seq)), RoomSeq: seq, At: time.Now()},
		Body:      fmt.Appendf(nil, `{"event_id":"$%d","room_id":"!room:example.org","type":"m.room.message","content":{"msgtype":"m.text","body":"some text"}}`, seq),
		Decisions: []events.Decision{{RuleID: ".m.rule.message", Prio: "high", Tweaks: []byte(`{"sound":"default"}`)}},
		Users:     []events.LogUser{{UserID: benchUser(seq)}},
	}
	return n.AppendJSON(make([]byte, 0, 512))
}

func benchUser(seq uint64) events.UserID {
	return events.UserID(fmt.Sprintf("@user%d:example.org", seq%benchUsers))
}

// benchDeliverer returns a deliverer that follows nothing, whose users have a pusher each.
func benchDeliverer(b *testing.B) *Deliverer {
	b.Helper()
	url := eventstest.QuickGateway(b)
	policy, err := pushgateway.NewPolicy([]string{"127.0.0.1"}, nil, true)
	if err != nil {
		b.Fatal(err)
	}
	conn := natstest.StartServer(b).Connect(natstest.Topology())
	dir := directory.New(policy, slog.New(slog.DiscardHandler), conn.Topology().Partitions, func(events.UserID) {})
	for i := range uint64(benchUsers) {
		dir.Apply(events.UserPushers{UserID: benchUser(i), Pushers: []events.Pusher{{
			AppID: "org.example.app", Pushkey: fmt.Sprint("key", i), Data: fmt.Appendf(nil, `{"url":%q}`, url),
		}}})
	}
	var slots sync.WaitGroup
	gates := NewGateways(64, 64, 64, nil, slots.Go)
	d := New(Config{
		Conn: conn, Worker: "bench", Directory: dir, Gates: gates,
		Client: poke.NewClient((&net.Dialer{}).DialContext, time.Minute, 64), Counts: new(Counters),
		PokeTTL: time.Hour, Badge: BadgeMessages, CatchUpLimit: 100, Log: slog.New(slog.DiscardHandler),
		Recent: 1 << 20, Owned: new(atomic.Int64),
	})
	stop := d.Start()
	b.Cleanup(func() {
		stop()
		gates.Close()
		slots.Wait()
	})
	f, err := partition.NewGroup(conn).Follow(b.Context(), partition.StageDeliver, 0, "bench")
	if err == nil {
		err = d.Prepare(b.Context(), f, 0)
	}
	if err != nil {
		b.Fatal(err)
	}
	return d
}
