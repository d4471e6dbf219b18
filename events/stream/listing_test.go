package stream_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// fill stores count notifications in a user's log, in three rooms, with ROOMS sequences
// from first on.
func fill(t testing.TB, conn *stream.Conn, user events.UserID, first, count int) {
	t.Helper()
	stored := make(chan error, 1)
	batch := conn.NewBatch(func(_ uint64, err error) { stored <- err })
	for i := first; i < first+count; i++ {
		n := eventstest.Notification()
		n.RoomSeq, n.Highlight = uint64(i), i%500 == 1
		batch.Notify(conn, user, events.RoomID(fmt.Sprintf("!r%d", i%3)), "", n.AppendJSON(nil))
	}
	batch.Send()
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
}

// listAll reads a user's list page by page, and returns the ROOMS sequences and the
// number of pages.
func listAll(t *testing.T, conn *stream.Conn, user events.UserID, limit int, keep func(*events.Notification) bool) (list []int, pages int) {
	t.Helper()
	for before := uint64(0); ; pages++ {
		page, next, err := conn.ListNotifications(t.Context(), user, before, limit, keep)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > limit || next >= before && before > 0 {
			t.Fatalf("%d on a page of %d, which goes on from %d after %d", len(page), limit, next, before)
		}
		for _, n := range page {
			if n.Room != events.RoomID(fmt.Sprintf("!r%d", n.RoomSeq%3)) {
				t.Fatalf("event %d is in %s", n.RoomSeq, n.Room)
			}
			list = append(list, int(n.RoomSeq))
		}
		if before = next; next == 0 {
			return list, pages + 1
		}
	}
}

func all(*events.Notification) bool { return true }

func highlights(n *events.Notification) bool { return n.Highlight }

// downFrom returns n, n-1, … 1.
func downFrom(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = n - i
	}
	return list
}

// However a user's notifications are distributed among those of others, the list
// contains all of them, newest first.
func TestListNotifications(t *testing.T) {
	eventstest.Long(t)
	for name, stretches := range map[string][][2]int{ // alice's, then bob's
		"none":          {{0, 10}},
		"one":           {{1, 0}},
		"few":           {{20, 3}, {1, 300}},
		"one page":      {{128, 0}},
		"one page more": {{129, 0}},
		"one left over": {{961, 0}}, // by the windows that read it
		"even":          slices.Repeat([][2]int{{3, 5}}, 100),
		"new":           {{1, 1000}, {400, 0}},
		"old":           {{400, 1000}, {1, 0}},
		"split":         {{200, 500}, {1, 500}, {200, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := eventstest.StartServer(t).Connect(eventstest.Topology())
				count := 0
				for _, s := range stretches {
					if s[0] > 0 {
						fill(t, conn, "@a:x", count+1, s[0])
					}
					if count += s[0]; s[1] > 0 {
						fill(t, conn, "@b:x", 1, s[1])
					}
				}
				for _, limit := range []int{1, 20, 100} {
					if limit == 1 && count > 30 {
						continue
					}
					got, pages := listAll(t, conn, "@a:x", limit, all)
					if !slices.Equal(got, downFrom(count)) {
						t.Errorf("by %d: %d of %d: %v", limit, len(got), count, got)
					}
					if want := max(1, (count+limit-1)/limit); pages != want {
						t.Errorf("by %d: %d pages, want %d", limit, pages, want)
					}
				}
				got, _ := listAll(t, conn, "@a:x", 1, func(n *events.Notification) bool { return n.RoomSeq == 1 })
				if len(got) != min(count, 1) {
					t.Errorf("the oldest: %v", got)
				}
			})
		})
	}
}

// A listing in which few of very many notifications match is returned in parts.
func TestListNotificationsScansALimitedPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		fill(t, conn, "@a:x", 1, 5000)
		page, next, err := conn.ListNotifications(t.Context(), "@a:x", 0, 100, highlights)
		if err != nil || len(page) == 0 || len(page) == 10 || next == 0 {
			t.Errorf("%d of 10 in one page, next %d, %v", len(page), next, err)
		}
		got, pages := listAll(t, conn, "@a:x", 100, highlights)
		if want := []int{4501, 4001, 3501, 3001, 2501, 2001, 1501, 1001, 501, 1}; !slices.Equal(got, want) || pages > 5 {
			t.Errorf("%v after %d pages, want %v", got, pages, want)
		}
	})
}

// BenchmarkListNotifications reads the first page of a user with many unread
// notifications.
func BenchmarkListNotifications(b *testing.B) {
	for _, count := range []int{20, 1000, 10_000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			conn := eventstest.StartServer(b).Connect(eventstest.Topology())
			for i := range count / 10 {
				fill(b, conn, "@a:x", 10*i+1, 10)
				fill(b, conn, "@b:x", 1, 10)
			}
			for b.Loop() {
				if page, _, err := conn.ListNotifications(b.Context(), "@a:x", 0, 20, all); err != nil || len(page) != 20 {
					b.Fatal(len(page), err)
				}
			}
		})
	}
}

// New notifications, and reads, between two pages do not shift the second page.
func TestListNotificationsPagesAreStable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		fill(t, conn, "@a:x", 1, 10)
		page, next, err := conn.ListNotifications(t.Context(), "@a:x", 0, 3, all)
		if err != nil || len(page) != 3 {
			t.Fatalf("%d, %v", len(page), err)
		}
		fill(t, conn, "@a:x", 11, 10)
		server.DeleteMessage("NOTIFICATIONS", page[2].Seq)
		server.DeleteMessage("NOTIFICATIONS", 6)
		page, _, err = conn.ListNotifications(t.Context(), "@a:x", next, 2, all)
		if err != nil || len(page) != 2 || page[0].RoomSeq != 7 || page[1].RoomSeq != 5 {
			t.Errorf("%+v, %v; want 7 and 5", page, err)
		}
	})
}

// The list contains a retried dead letter once, as the original notification, and skips
// messages that cannot be parsed.
func TestListNotificationsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		fill(t, conn, "@a:x", 1, 3)
		mine := fmt.Sprintf("notify.%d.%s.", events.PartitionOf(events.Token("@a:x"), conn.Partitions()), events.Token("@a:x"))
		again := eventstest.Notification()
		again.RoomSeq, again.Only = 2, "pusher"
		server.Publish(mine+events.Token("!r2")+".+", string(again.AppendJSON(nil)))
		server.Publish(mine+"?._", string(again.AppendJSON(nil)))
		server.Publish(mine+events.Token("!r2")+"._", "{}")
		if got, _ := listAll(t, conn, "@a:x", 2, all); !slices.Equal(got, downFrom(3)) {
			t.Errorf("%v, want 3, 2, 1", got)
		}
	})
}

// A replica that lacks the newest messages must not make the list empty or end it
// early.
func TestListNotificationsFromAReplicaThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		fill(t, conn, "@a:x", 1, 300)
		knows := replica(t, server)
		for _, c := range []struct {
			knows  int64
			before uint64
			ok     bool
		}{{0, 0, false}, {0, 50, false}, {299, 0, false}, {200, 0, false}, {200, 250, false}, {100, 50, true}, {200, 50, true}, {300, 0, true}} {
			knows.Store(c.knows)
			page, next, err := conn.ListNotifications(t.Context(), "@a:x", c.before, 20, all)
			if (err == nil) != c.ok || c.ok && (len(page) != 20 || next != page[19].Seq) {
				t.Errorf("knowing %d of 300, before %d: %d, next %d, %v", c.knows, c.before, len(page), next, err)
			}
		}
	})
}

// replica answers direct reads of NOTIFICATIONS in the server's place, like a replica
// that has only so many messages.
func replica(t *testing.T, server *eventstest.Server) (knows *atomic.Int64) {
	t.Helper()
	log := server.Stored("NOTIFICATIONS", "")
	nc, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "NOTIFICATIONS")
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.AllowDirect = false
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	knows = new(atomic.Int64)
	_, err = nc.Subscribe("$JS.API.DIRECT.GET.NOTIFICATIONS", func(m *nats.Msg) {
		var ask struct{ Seq, Batch int64 }
		_ = json.Unmarshal(m.Data, &ask)
		from, to := min(ask.Seq-1, knows.Load()), knows.Load()
		for i := from; i < min(to, from+ask.Batch); i++ {
			_ = m.RespondMsg(&nats.Msg{Data: log[i].Data, Header: nats.Header{
				"Nats-Stream": {"NOTIFICATIONS"}, "Nats-Subject": {log[i].Subject}, "Nats-Sequence": {fmt.Sprint(log[i].Seq)},
				"Nats-Time-Stamp": {time.Now().Format(time.RFC3339Nano)}, "Nats-Num-Pending": {fmt.Sprint(to - i - 1)},
			}})
		}
		end := nats.Header{"Status": {"204"}, "Description": {"EOB"}}
		if from == to {
			end = nats.Header{"Status": {"404"}, "Description": {"Message Not Found"}}
		}
		_ = m.RespondMsg(&nats.Msg{Header: end})
	})
	if err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	return knows
}

func TestEventOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		const raw = `{"event_id":"$e","room_id":"!r","type":"m.x","sender":"@b:x","content":{"a":1},"unsigned":{}}`
		ev, err := events.ParseRoomEvent([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		server.Publish(ev.Subject(), "{}") // the message before the event
		server.Publish(ev.Subject(), raw)
		n := stream.ListedNotification{Notification: eventstest.Notification(), Room: "!r"}
		for _, c := range []struct {
			change func(*stream.ListedNotification)
			want   string
		}{
			{func(n *stream.ListedNotification) { n.RoomSeq = 2 }, raw},
			{func(n *stream.ListedNotification) { n.RoomSeq = 1 }, ""},
			{func(n *stream.ListedNotification) { n.RoomSeq = 3 }, ""},
			{func(n *stream.ListedNotification) { n.RoomSeq, n.EventID = 2, "$other" }, ""},
			{func(n *stream.ListedNotification) { n.RoomSeq, n.Room = 2, "!other" }, ""},
		} {
			n := n
			c.change(&n)
			if got, err := conn.EventOf(t.Context(), &n); err != nil || string(got) != c.want {
				t.Errorf("at %d in %s: %s, %v", n.RoomSeq, n.Room, got, err)
			}
		}
	})
}
