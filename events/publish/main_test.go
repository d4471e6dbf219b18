package publish_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"poked/events/natstest"
	"poked/events/stream"
)

func TestMain(m *testing.M) {
	natstest.Prepare()
	m.Run()
}

// startPoked starts a NATS server with poked's streams for an example. It returns the
// server's URL and a function that stops it.
func startPoked() (url string, stop func()) {
	natstest.EmptyPools()
	must := func(err error) {
		if err != nil {
			panic(err) //nolint:forbidigo // an example has no t to fail
		}
	}
	dir, err := os.MkdirTemp("", "poked-example-")
	must(err)
	ns, err := server.NewServer(&server.Options{
		ServerName: "example", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
	must(err)
	ns.Start()
	if !ns.ReadyForConnections(30 * time.Second) {
		must(errors.New("the nats server does not become ready"))
	}
	ctx := context.Background()
	conn, err := stream.Connect(ctx, stream.Config{URL: ns.ClientURL(), Name: "poked", Log: slog.New(slog.DiscardHandler)})
	must(err)
	must(conn.Setup(ctx, natstest.Topology()))
	must(conn.Close())
	return ns.ClientURL(), func() {
		ns.Shutdown()
		ns.WaitForShutdown()
		must(os.RemoveAll(dir))
	}
}
