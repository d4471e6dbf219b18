package node

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"poked/cmd/internal/clitest"
	"poked/events/eventstest"
)

// TestG14NamesTheStream checks that the reason names the stream that cannot be written.
func TestG14NamesTheStream(t *testing.T) {
	eventstest.Long(t)
	disk := clitest.SmallDisk(t, 48<<20)
	ns, err := StartNATS(NATSOptions{Dir: filepath.Join(disk, "nats"), Sync: FsyncFlag{Interval: time.Second}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Stop()
	nc, err := nats.Connect("", nats.InProcessServer(ns))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("$JS.API.STREAM.CREATE.ROOMS", []byte(`{"name":"ROOMS","subjects":["room.*.>"],"storage":"file"}`), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	w := &natsWatch{nats: ns, dir: disk, log: slog.New(slog.DiscardHandler)}
	if why := w.ask(); why != "" {
		t.Errorf("at first: %s", why)
	}
	clitest.FillDisk(t, filepath.Join(disk, "ballast"))
	clitest.Pour(t, nc)
	if why := w.ask(); !strings.HasPrefix(why, "stream ROOMS cannot be written: ") || !strings.HasSuffix(why, "no space left on device") {
		t.Errorf("the reason is %q", why)
	}
}
