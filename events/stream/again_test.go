package stream_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events/natstest"
	"poked/events/stream"
)

// TestLostAnswerIsAskedForAgain asks while a request or its answer gets lost, as while a cluster
// elects a leader: what may be asked twice is, after a second, and does not fail after five.
func TestLostAnswerIsAskedForAgain(t *testing.T) {
	for subject, ask := range map[string]func(ctx context.Context, conn *stream.Conn) error{
		"$JS.API.STREAM.INFO.NOTIFICATIONS": func(ctx context.Context, conn *stream.Conn) error {
			_, _, err := conn.StreamEnd(ctx, stream.Notifications)
			return err
		},
		"$JS.API.STREAM.MSG.GET.NOTIFICATIONS": func(ctx context.Context, conn *stream.Conn) error {
			_, err := conn.LoggedAt(ctx, stream.Notifications, 1)
			return err
		},
		"$JS.API.CONSUMER.CREATE.NOTIFICATIONS": func(ctx context.Context, conn *stream.Conn) error {
			tail := conn.Tail(stream.TailConfig{
				Stream: stream.Notifications, Filter: "log.>", Log: conn.Log(),
				From: func(cfg *jetstream.ConsumerConfig) { cfg.DeliverPolicy = jetstream.DeliverAllPolicy },
			})
			defer tail.Close()
			if tail.Messages(ctx) == nil {
				return tail.Trouble(0)
			}
			return nil
		},
	} {
		t.Run(subject, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := natstest.StartServer(t)
				link := server.Link()
				conn := link.Connect(t, natstest.Topology())
				notify(t, conn, "@a:x", "!r", 1)
				met := link.Break(subject, natstest.LoseSilently)
				began := time.Now()
				if err := ask(t.Context(), conn); err != nil || !met() {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("it took %v", took)
				}
				<-time.After(time.Second)
				if n := server.Consumers(stream.Notifications); n > 0 {
					t.Errorf("%d consumers are left", n)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if ask(ctx, conn) == nil {
					t.Error("it does not end with its context")
				}
			})
		})
	}
}
