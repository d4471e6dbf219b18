package main

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFsyncFlag(t *testing.T) {
	for _, tt := range []struct {
		text string
		want fsyncFlag
		ok   bool
	}{
		{"always", fsyncFlag{always: true}, true},
		{"1s", fsyncFlag{interval: time.Second}, true},
		{"10ms", fsyncFlag{interval: 10 * time.Millisecond}, true},
		{"9ms", fsyncFlag{}, false},
		{"0", fsyncFlag{}, false},
		{"-1s", fsyncFlag{}, false},
		{"never", fsyncFlag{}, false},
	} {
		var got fsyncFlag
		err := got.UnmarshalText([]byte(tt.text))
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("%s: %+v, %v", tt.text, got, err)
		}
		if tt.ok && got.String() != tt.text {
			t.Errorf("%s prints as %s", tt.text, got)
		}
	}
}

// The flag reaches the server; its default is two minutes.
func TestFsyncReachesTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, sync := range []fsyncFlag{{always: true}, {interval: time.Second}} {
			ns, err := startNATS(natsOptions{dir: t.TempDir(), sync: sync, log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			config := ns.JetStreamConfig()
			if config.SyncAlways != sync.always || (!sync.always && config.SyncInterval != sync.interval) {
				t.Errorf("%s: the server has always %t, interval %s", sync, config.SyncAlways, config.SyncInterval)
			}
			if where := ns.where(); where != "in process" {
				t.Errorf("without --nats-listen it is at %s", where)
			}
			ns.stop()
		}
	})
}

func TestWatchSeesNATSGivingUp(t *testing.T) {
	for _, tt := range []struct {
		name   string
		giveUp func(*embeddedNATS) error
	}{
		{"server ended", func(ns *embeddedNATS) error { ns.stop(); return nil }},
		{"JetStream disabled", func(ns *embeddedNATS) error { return ns.DisableJetStream() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ns, err := startNATS(natsOptions{dir: t.TempDir(), sync: fsyncFlag{interval: time.Second}, log: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				defer ns.stop()
				watched := make(chan error, 1)
				go func() { watched <- ns.watch(t.Context()) }()
				if err := tt.giveUp(ns); err != nil {
					t.Fatal(err)
				}
				if err := <-watched; err == nil {
					t.Error("nothing noticed")
				}
			})
		})
	}
}

func TestNATSThatCannotListen(t *testing.T) {
	options := natsOptions{dir: t.TempDir(), listen: "127.0.0.1:0", sync: fsyncFlag{interval: time.Second}, log: slog.New(slog.DiscardHandler)}
	taken, err := startNATS(options)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.stop()
	options.dir, options.listen = t.TempDir(), taken.where()
	if _, err = startNATS(options); err == nil || !strings.Contains(err.Error(), taken.where()) {
		t.Errorf("second server on %s: %v", taken.where(), err)
	}
}
