package stream_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events/natstest"
	"poked/events/stream"
)

// TestTailLeavesNoConsumer reads and closes, or gives up, many times: a stream may have only so
// many consumers, and once those that were left behind are so many nobody can read any more.
func TestTailLeavesNoConsumer(t *testing.T) {
	read := func(t *testing.T, conn *stream.Conn, bulk bool) *stream.Tail {
		t.Helper()
		tail := conn.Tail(stream.TailConfig{
			Stream: stream.Notifications, Filter: "log.>", Bulk: bulk, Log: conn.Log(), Patience: time.Second / 2,
			From: func(cfg *jetstream.ConsumerConfig) { cfg.DeliverPolicy = jetstream.DeliverAllPolicy },
		})
		if messages := tail.Messages(t.Context()); messages != nil {
			if _, ok := tail.Accept(<-messages); !ok {
				t.Fatal("nothing was read")
			}
		}
		return tail
	}
	for name, leave := range map[string]func(t *testing.T, conn *stream.Conn, link *natstest.Link){
		"closed": func(t *testing.T, conn *stream.Conn, _ *natstest.Link) { read(t, conn, false).Close() },
		"closed, of the connection for bulk reads": func(t *testing.T, conn *stream.Conn, _ *natstest.Link) {
			read(t, conn, true).Close()
		},
		"dropped": func(t *testing.T, conn *stream.Conn, _ *natstest.Link) {
			read(t, conn, false).Drop(stream.ErrNotReady)
		},
		"made, and the answer lost": func(t *testing.T, conn *stream.Conn, link *natstest.Link) {
			met := link.Break("$JS.API.CONSUMER.CREATE.NOTIFICATIONS", natstest.LoseSilently)
			if tail := read(t, conn, false); tail.Connected() || !met() {
				t.Error("the answer was not lost")
			}
		},
		"a long pass": func(t *testing.T, conn *stream.Conn, link *natstest.Link) {
			before := link.Asked("$JS.API.CONSUMER.CREATE.NOTIFICATIONS")
			if got := passed(t, conn, "log.>", 1); len(got) != 500 || link.Asked("$JS.API.CONSUMER.CREATE.NOTIFICATIONS") == before {
				t.Errorf("%d messages", len(got))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := natstest.StartServer(t)
				link := server.Link()
				conn := link.Connect(t, natstest.Topology())
				for seq := range uint64(500) {
					notify(t, conn, "@a:x", "!r", seq+1)
				}
				for range 3 {
					leave(t, conn, link)
				}
				<-time.After(time.Second)
				if n := server.Consumers(stream.Notifications); n > 0 {
					t.Errorf("%d consumers are left", n)
				}
			})
		})
	}
}
