package node

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func TestFsyncFlag(t *testing.T) {
	for _, tt := range []struct {
		text string
		want FsyncFlag
		ok   bool
	}{
		{"always", FsyncFlag{Always: true}, true},
		{"1s", FsyncFlag{Interval: time.Second}, true},
		{"10ms", FsyncFlag{Interval: 10 * time.Millisecond}, true},
		{"9ms", FsyncFlag{}, false},
		{"0", FsyncFlag{}, false},
		{"-1s", FsyncFlag{}, false},
		{"never", FsyncFlag{}, false},
	} {
		var got FsyncFlag
		err := got.UnmarshalText([]byte(tt.text))
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("%s: %+v, %v", tt.text, got, err)
		}
		if tt.ok && got.String() != tt.text {
			t.Errorf("%s prints as %s", tt.text, got)
		}
	}
}

// The server uses the flag instead of its default of two minutes.
func TestFsyncReachesTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, sync := range []FsyncFlag{{Always: true}, {Interval: time.Second}} {
			ns, err := StartNATS(NATSOptions{Dir: t.TempDir(), Sync: sync, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			config := ns.embedded.(*server.Server).JetStreamConfig()
			if config.SyncAlways != sync.Always || (!sync.Always && config.SyncInterval != sync.Interval) {
				t.Errorf("%s: the server has always %t, interval %s", sync, config.SyncAlways, config.SyncInterval)
			}
			if where := ns.Where(); where != "in process" {
				t.Errorf("without --nats-listen it is at %s", where)
			}
			ns.Stop()
		}
	})
}

func TestWatchSeesNATSGivingUp(t *testing.T) {
	for _, tt := range []struct {
		name   string
		giveUp func(*EmbeddedNATS) error
	}{
		{"server ended", func(ns *EmbeddedNATS) error { ns.Stop(); return nil }},
		{"JetStream disabled", func(ns *EmbeddedNATS) error { return ns.DisableJetStream() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ns, err := StartNATS(NATSOptions{Dir: t.TempDir(), Sync: FsyncFlag{Interval: time.Second}, Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				defer ns.Stop()
				watched := make(chan error, 1)
				go func() { watched <- ns.Watch(t.Context()) }()
				if err := tt.giveUp(ns); err != nil {
					t.Fatal(err)
				}
				if err := <-watched; err == nil {
					t.Error("Watch returned no error")
				}
			})
		})
	}
}

func TestNATSThatCannotListen(t *testing.T) {
	options := NATSOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0", Sync: FsyncFlag{Interval: time.Second}, Log: slog.New(slog.DiscardHandler)}
	taken, err := StartNATS(options)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Stop()
	options.Dir, options.Listen = t.TempDir(), taken.Where()
	if _, err = StartNATS(options); err == nil || !strings.Contains(err.Error(), taken.Where()) {
		t.Errorf("second server on %s: %v", taken.Where(), err)
	}
}
