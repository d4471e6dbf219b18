package registry

import (
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
	"poked/events/eventstest"
)

// TestReconcile starts with a bucket that somebody else has changed.
func TestReconcile(t *testing.T) {
	other := func(set events.UserPushers, version int64) events.UserPushers {
		set.Version = version
		set.Pushers = append([]events.Pusher{}, set.Pushers...)
		set.Pushers[0].Lang = "other"
		return set
	}
	for _, c := range []struct {
		name string
		// bucket returns what the bucket holds of alice, whom the database has at
		// set. No pushers means no key.
		bucket func(set events.UserPushers) events.UserPushers
		// version is what alice's has to be in the end, relative to set's.
		version int64
	}{
		{"equal", func(set events.UserPushers) events.UserPushers { return set }, 0},
		{"missing", func(events.UserPushers) events.UserPushers { return events.UserPushers{UserID: alice} }, 0},
		{"behind", func(set events.UserPushers) events.UserPushers { return other(set, set.Version-1) }, 0},
		{"behind with the same pushers", func(set events.UserPushers) events.UserPushers { set.Version--; return set }, 0},
		{"different at the same version", func(set events.UserPushers) events.UserPushers { return other(set, set.Version) }, 1},
		{"ahead", func(set events.UserPushers) events.UserPushers { return other(set, set.Version+5) }, 6},
		{"ahead with the same pushers", func(set events.UserPushers) events.UserPushers { set.Version += 5; return set }, 6},
		{"a pusher more", func(set events.UserPushers) events.UserPushers {
			set.Pushers = append(set.Pushers, set.Pushers...)
			return set
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			for range 3 {
				h.set("alice-phone", body())
			}
			set := h.database()[alice]
			h.exec("DELETE FROM outbox")
			h.put(c.bucket(set))
			h.run()
			h.waitSettled()
			if got := h.bucket()[alice].Version - set.Version; got != c.version {
				t.Errorf("version grew by %d, want %d", got, c.version)
			}
		})
	}
}

// TestReconcileUnknownUsers has users in the bucket whom the database does not
// have, or has without pushers.
func TestReconcileUnknownUsers(t *testing.T) {
	h := newHouse(t)
	h.set("alice-phone", body())
	set := h.database()[alice]
	h.set("alice-phone", body(keys{"kind": null}))
	h.exec("DELETE FROM outbox")
	h.put(set)
	set.UserID, set.Version = "@gone:example.org", 7
	h.put(set)
	h.run()
	eventstest.WaitFor(t, "the bucket to be empty", func() bool { return len(h.bucket()) == 0 })
	// If the user comes back, dispatchers must not take the news for old.
	if err := h.reg.store.Owe(t.Context(), []debt{{user: set.UserID}}); err != nil {
		t.Fatal(err)
	}
	back, err := h.reg.store.Pushers(t.Context(), set.UserID)
	if err != nil || back.Version <= 7 {
		t.Errorf("version %d (%v), want one above the bucket's 7", back.Version, err)
	}
}

func (h *house) put(set events.UserPushers) {
	h.t.Helper()
	if err := h.conn.PutPushers(h.t.Context(), set); err != nil {
		h.t.Fatal(err)
	}
}

// TestDatabaseFromBackup wants the bucket to follow a database that went back in
// time.
func TestDatabaseFromBackup(t *testing.T) {
	h := newHouse(t)
	stop := h.run()
	h.set("alice-phone", body(keys{"lang": "old"}))
	backup := h.cfg.Database + ".backup"
	h.exec("VACUUM INTO '" + backup + "'")
	for _, lang := range []string{"new", "newer"} {
		h.set("alice-phone", body(keys{"lang": lang}))
	}
	h.set("bob-phone", body(keys{"append": true}))
	h.waitSettled()
	newest := h.bucket()[alice].Version
	stop()
	h.close()
	if err := os.Rename(backup, h.cfg.Database); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.run()
	h.waitSettled()
	bucket := h.bucket()
	if set := bucket[alice]; len(bucket) != 1 || set.Pushers[0].Lang != "old" || set.Version <= newest {
		t.Errorf("the bucket has %+v; versions went up to %d", bucket, newest)
	}
}

// TestBucketDeletedInPlace has an operator delete the bucket and make it anew,
// while the connection stands. The next change finds out.
func TestBucketDeletedInPlace(t *testing.T) {
	h := newHouse(t)
	h.run()
	h.set("alice-phone", body())
	h.waitSettled()
	nc, err := nats.Connect("", nats.InProcessServer(h.nats))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteKeyValue(t.Context(), "PUSHERS"); err != nil {
		t.Fatal(err)
	}
	h.set("bob-phone", body(keys{"append": true}))
	eventstest.WaitFor(t, "the outbox to fail", func() bool { return strings.Contains(h.log.String(), "cannot tell nats") })
	if err := h.conn.Setup(t.Context(), eventstest.Topology()); err != nil {
		t.Fatal(err)
	}
	h.waitSettled()
	if n := len(h.bucket()); n != 2 {
		t.Errorf("%d users in the bucket, want 2", n)
	}
}

// moving is a NATS that is replaced by an empty one.
type moving struct {
	now atomic.Pointer[eventstest.Server]
}

func (m *moving) InProcessConn() (net.Conn, error) { return m.now.Load().InProcessConn() }

// TestBucketLostWhileRunning replaces NATS by an empty one under a registry that
// has nothing left to tell.
func TestBucketLostWhileRunning(t *testing.T) {
	h := newHouse(t)
	place := &moving{}
	place.now.Store(h.nats)
	conn, err := events.Connect(t.Context(), events.Config{InProcess: place, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.Setup(t.Context(), eventstest.Topology()); err != nil {
		t.Fatal(err)
	}
	h.close()
	h.conn = conn
	h.open()
	h.run()
	h.set("alice-phone", body())
	h.waitSettled()
	empty := eventstest.StartServer(t)
	empty.Connect(eventstest.Topology())
	place.now.Store(empty)
	h.nats.Stop()
	eventstest.WaitFor(t, "the connection to the empty one", conn.Connected)
	h.waitSettled()
	if len(h.bucket()) != 1 {
		t.Error("the bucket is empty")
	}
}
