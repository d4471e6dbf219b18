package stream_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"poked/events/eventstest"
	"poked/events/stream"
)

// If NATS does not permit the service for operators, this is reported, and the service
// starts as soon as NATS permits it.
func TestG14OperatorServiceIsRetried(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	eventstest.EmptyPools()
	user := func(deny ...string) *server.User {
		return &server.User{Username: "d", Password: "d", Permissions: &server.Permissions{
			Subscribe: &server.SubjectPermission{Allow: []string{">"}, Deny: deny},
		}}
	}
	options := func(u *server.User) *server.Options {
		return &server.Options{
			Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(),
			Users: []*server.User{u},
		}
	}
	first := options(user("poked.dispatcher.>"))
	ns, err := server.NewServer(first)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not become ready")
	}
	conn, err := stream.Connect(t.Context(), stream.Config{URL: "nats://d:d@" + ns.Addr().String(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	states, ended := make(chan error, 10), make(chan struct{})
	go func() {
		defer close(ended)
		conn.ServeOperator(ctx, "w", knower("a", 1, nil), func(err error) { states <- err })
	}()
	if err := <-states; err == nil {
		t.Error("it reports no error although it may not subscribe")
	}
	next := first.Clone()
	next.Users = []*server.User{user()}
	if err := ns.ReloadOptions(next); err != nil {
		t.Fatal(err)
	}
	if err := <-states; err != nil {
		t.Errorf("it does not serve although it may subscribe: %v", err)
	}
	cancel()
	<-ended
}
