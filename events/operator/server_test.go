package operator_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/operator"
	"poked/events/stream"
)

// If NATS does not permit the service for operators, this is reported, and the service
// starts as soon as NATS permits it.
func TestG14OperatorServiceIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		user := func(deny ...string) *server.User {
			return &server.User{Username: "d", Password: "d", Permissions: &server.Permissions{
				Subscribe: &server.SubjectPermission{Allow: []string{">"}, Deny: deny},
			}}
		}
		options := &server.Options{DontListen: true, NoLog: true, NoSigs: true, Users: []*server.User{user("poked.dispatcher.>")}}
		ns, err := server.NewServer(options)
		if err != nil {
			t.Fatal(err)
		}
		ns.Start()
		t.Cleanup(natstest.EmptyPools)
		t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
		if !ns.ReadyForConnections(30 * time.Second) {
			t.Fatal("the server does not become ready")
		}
		conn, err := stream.Connect(t.Context(), stream.Config{URL: "nats://d:d@in-process", InProcess: ns, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		ctx, cancel := context.WithCancel(t.Context())
		states, ended := make(chan error, 10), make(chan struct{})
		go func() {
			defer close(ended)
			operator.ServeDispatcher(ctx, conn, "w", knower("a", 1, nil), func(err error) { states <- err })
		}()
		report := func() error {
			select {
			case err := <-states:
				return err
			case <-time.After(eventstest.Patience):
				t.Fatalf("no report within %s", eventstest.Patience)
				return nil
			}
		}
		if err := report(); err == nil {
			t.Error("it reports no error although it may not subscribe")
		}
		next := options.Clone()
		next.Users = []*server.User{user()}
		if err := ns.ReloadOptions(next); err != nil {
			t.Fatal(err)
		}
		if err := report(); err != nil {
			t.Errorf("it does not serve although it may subscribe: %v", err)
		}
		cancel()
		<-ended
	})
}
