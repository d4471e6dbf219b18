package registry

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/pushrule"
	"poked/events/stream"
	"poked/registry/store"
)

// TestReconcile starts with a bucket that another process has changed.
func TestReconcile(t *testing.T) {
	other := func(set events.UserPushers, version int64) events.UserPushers {
		set.Version = version
		set.Pushers = append([]events.Pusher{}, set.Pushers...)
		set.Pushers[0].Lang = "other"
		return set
	}
	for _, c := range []struct {
		name string
		// bucket returns alice's value in the bucket, given the one in the database. No
		// pushers means no key.
		bucket func(set events.UserPushers) events.UserPushers
		// version is alice's version in the end, relative to set's.
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
			h.putPushers(c.bucket(set))
			h.run()
			h.waitSettled()
			if got := h.bucket()[alice].Version - set.Version; got != c.version {
				t.Errorf("version grew by %d, want %d", got, c.version)
			}
		})
	}
}

// TestReconcilePushRules is TestReconcile for the other bucket, which has different
// values but the same code.
func TestReconcilePushRules(t *testing.T) {
	for _, c := range []struct {
		name    string
		bucket  func(*events.UserPushRules) // changes alice's value in the bucket
		version int64                       // by how much it has grown in the end
	}{
		{"equal", func(*events.UserPushRules) {}, 0},
		{"missing", func(r *events.UserPushRules) { *r = events.UserPushRules{UserID: alice} }, 0},
		{"behind", func(r *events.UserPushRules) { r.Version--; r.Changes.Room = nil }, 0},
		{"different", func(r *events.UserPushRules) { r.IgnoredUsers = []events.UserID{bob} }, 1},
		{"ahead", func(r *events.UserPushRules) { r.Version += 5; r.Devices = nil }, 6},
		{"without predefined changes", func(r *events.UserPushRules) { r.Changes.Predefined = nil }, 1},
		{"with the homeserver's rules", func(r *events.UserPushRules) { r.Published = &pushrule.Ruleset{} }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.put("global/room/a", firstRule)
			h.put("device/h/content/a", `{"pattern":"<","actions":[]}`)
			h.put("global/override/.m.rule.master/actions", secondRule)
			h.exec("DELETE FROM outbox")
			rules := h.rulesOfAlice()
			version := rules.Version
			c.bucket(&rules)
			h.putRules(rules)
			h.putRules(events.UserPushRules{UserID: "@gone:example.org", Version: 7, IgnoredUsers: []events.UserID{bob}})
			h.run()
			h.waitSettled()
			if got := h.inDatabase(store.InPushRules)[alice].Version - version; got != c.version {
				t.Errorf("version grew by %d, want %d", got, c.version)
			}
			if n := h.count("users WHERE rules_version = 8"); n != 1 {
				t.Error("the unknown user was not given a version above the bucket's")
			}
		})
	}
}

func (h *house) putRules(rules events.UserPushRules) {
	h.t.Helper()
	if err := h.conn.PutPushRules(h.t.Context(), rules); err != nil {
		h.t.Fatal(err)
	}
}

// TestReconcileUnknownUsers puts users into the bucket that the database does not have,
// or has without pushers.
func TestReconcileUnknownUsers(t *testing.T) {
	h := newHouse(t)
	h.set("alice-phone", body())
	set := h.database()[alice]
	h.set("alice-phone", body(keys{"kind": null}))
	h.exec("DELETE FROM outbox")
	h.putPushers(set)
	set.UserID, set.Version = "@gone:example.org", 7
	h.putPushers(set)
	h.run()
	eventstest.WaitFor(t, "the bucket to be empty", func() bool { return len(h.bucket()) == 0 })
	// If the user sets a pusher again, dispatchers must not take it for an old value.
	if err := h.reg.store.Enqueue(t.Context(), store.InPushers, []store.Entry{{User: set.UserID}}); err != nil {
		t.Fatal(err)
	}
	back, err := h.reg.store.Pushers(t.Context(), set.UserID)
	if err != nil || back.Version <= 7 {
		t.Errorf("version %d (%v), want one above the bucket's 7", back.Version, err)
	}
}

func (h *house) putPushers(set events.UserPushers) {
	h.t.Helper()
	if err := h.conn.PutPushers(h.t.Context(), set); err != nil {
		h.t.Fatal(err)
	}
}

// TestDatabaseFromBackup checks that the bucket follows a database that was restored
// from a backup.
func TestDatabaseFromBackup(t *testing.T) {
	eventstest.Long(t)
	onlyFile(t)
	h := newHouse(t)
	stop := h.run()
	h.set("alice-phone", body(keys{"lang": "old"}))
	h.put("global/room/a", firstRule)
	backup := h.cfg.Database + ".backup"
	h.exec("VACUUM INTO '" + backup + "'")
	for _, lang := range []string{"new", "newer"} {
		h.set("alice-phone", body(keys{"lang": lang}))
		h.put("global/room/"+lang, firstRule)
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
	if got := h.inDatabase(store.InPushRules)[alice].Version; got <= 3 {
		t.Errorf("version %d of the rules, want more than 3", got)
	}
	if set := bucket[alice]; len(bucket) != 1 || set.Pushers[0].Lang != "old" || set.Version <= newest {
		t.Errorf("the bucket has %+v, want versions above %d", bucket, newest)
	}
}

// TestBucketDeletedInPlace deletes a bucket and makes it anew while the connection
// stays open. The next change notices it.
func TestBucketDeletedInPlace(t *testing.T) {
	for _, b := range []store.Bucket{store.InPushers, store.InPushRules} {
		t.Run(string(b), func(t *testing.T) {
			h := newHouse(t)
			h.run()
			change := func(token string) {
				h.set(token, body(keys{"append": true}))
				h.change("PUT", pushRules+"global/room/a", token, firstRule)
			}
			change("alice-phone")
			h.waitSettled()
			h.nats.DeleteStream("KV_" + string(b))
			change("bob-phone")
			eventstest.WaitFor(t, "the outbox to fail", func() bool { return strings.Contains(h.log.String(), "the outbox cannot be published") })
			if err := h.conn.Setup(t.Context(), natstest.Topology()); err != nil {
				t.Fatal(err)
			}
			h.waitSettled()
			if held, err := h.inBucket(b); err != nil || len(held) != 2 {
				t.Errorf("%d users in the bucket, want 2 (%v)", len(held), err)
			}
		})
	}
}

// moving is a NATS server that is replaced by another.
type moving struct {
	now atomic.Pointer[natstest.Server]
}

func (m *moving) InProcessConn() (net.Conn, error) { return m.now.Load().InProcessConn() }

// TestBucketLostWhileRunning replaces NATS by an empty server while the registry has
// nothing to publish.
func TestBucketLostWhileRunning(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	place := &moving{}
	place.now.Store(h.nats)
	conn, err := stream.Connect(t.Context(), stream.Config{InProcess: place, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.Setup(t.Context(), natstest.Topology()); err != nil {
		t.Fatal(err)
	}
	h.close()
	h.conn = conn
	h.open()
	h.run()
	h.set("alice-phone", body())
	h.put("global/room/a", firstRule)
	h.waitSettled()
	empty := natstest.StartServer(t)
	empty.Connect(natstest.Topology())
	place.now.Store(empty)
	h.nats.Stop()
	eventstest.WaitFor(t, "the connection to the empty one", conn.Connected)
	h.waitSettled()
	if rules, err := h.inBucket(store.InPushRules); err != nil || len(h.bucket()) != 1 || len(rules) != 1 {
		t.Error("a bucket is empty")
	}
}

// TestDeletedBucketIsFilled deletes a bucket while the registry has nothing to publish,
// and changes nothing afterwards.
func TestDeletedBucketIsFilled(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	for _, b := range []store.Bucket{store.InPushers, store.InPushRules} {
		t.Run(string(b), func(t *testing.T) {
			h := newHouse(t)
			h.run()
			runUntil(t, func(ctx context.Context) error { return h.conn.Keep(ctx, natstest.Topology()) })
			h.set("alice-phone", body())
			h.put("global/room/a", firstRule)
			h.waitSettled()
			eventstest.WaitFor(t, "the streams to be known", func() bool { return len(h.conn.Streams()) > 0 })
			h.nats.DeleteStream("KV_" + string(b))
			eventstest.WaitFor(t, "the bucket to be filled again", func() bool {
				held, err := h.inBucket(b)
				return err == nil && len(held) == 1
			})
		})
	}
}
