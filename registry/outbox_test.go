package registry

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/registry/store"
)

// A client has its answer when a barrier in each partition separates its change from later
// events.
func TestAnswerWaitsForABarrier(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.run()
	h.waitFor("the first comparison", func() bool { return h.reg.outbox.Settled() })
	for n, change := range []func(){
		func() { h.set("alice-phone", body()) },
		func() { h.set("alice-phone", body(keys{"kind": null})) },
		func() {
			h.change(http.MethodPut, prefixV3+"/pushrules/global/content/x", "alice-phone", `{"pattern":"x","actions":[]}`)
		},
	} {
		change()
		want, err := h.conn.Revisions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all := h.nats.Stored("ROOMS", "")
		for part := range h.conn.Topology().Partitions {
			seen := false
			for _, msg := range all {
				got, err := events.ParseBarrier(msg.Data)
				is := got.Pushers == want.Pushers && n < 2 || got.PushRules == want.PushRules && n == 2 // the changed bucket
				seen = seen || err == nil && is && strings.HasPrefix(msg.Subject, fmt.Sprintf("rooms.%d.", part))
			}
			if !seen {
				t.Errorf("change %d: no barrier with %+v in partition %d", n, want, part)
			}
		}
	}
}

// TestG11AnsweredIsOnDisk copies the files once 200 has arrived, which is what a crash
// would leave, and reads the copy.
func TestG11AnsweredIsOnDisk(t *testing.T) {
	onlyFile(t)
	h := newHouse(t)
	h.set("alice-phone", body())
	h.put("global/room/a", firstRule)
	pushers, rules := h.inDatabase(store.InPushers)[alice], h.inDatabase(store.InPushRules)[alice]
	copied := filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(h.cfg.Database + suffix)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, copied+suffix, string(content))
	}
	s := openTestStore(t, copied)
	pending, err := loadPending(t.Context(), s)
	if err != nil || len(pending) != 2 || encode(t, pending[0].Content) != encode(t, pushers.Content) ||
		encode(t, pending[1].Content) != encode(t, rules.Content) {
		t.Errorf("pending after a crash: %+v %v, want %+v and %+v", pending, err, pushers, rules)
	}
}

func TestG11NATSAway(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.run()
	h.set("alice-phone", body(keys{"pushkey": "before"}))
	h.waitSettled()
	h.nats.Stop()
	eventstest.WaitFor(t, "the connection to break", func() bool { return !h.conn.Connected() })
	for i := range 20 {
		h.set("alice-phone", body(keys{"pushkey": fmt.Sprint(i)}))
		h.set("bob-phone", body(keys{"pushkey": fmt.Sprint("b", i)}))
	}
	h.set("alice-phone", body(keys{"pushkey": "before", "kind": null}))
	h.put("global/room/a", firstRule)
	if n := h.count("outbox"); n != 42 {
		t.Errorf("%d rows in the outbox, want 42", n)
	}
	h.nats.Start()
	h.waitSettled()
	if n := len(h.bucket()[alice].Pushers); n != 20 {
		t.Errorf("alice has %d pushers in the bucket", n)
	}
}

// TestOutboxKeepsOrder changes two users concurrently while the outbox runs: a watcher
// sees each user's versions grow, and in the end the newest.
func TestOutboxKeepsOrder(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	var mu sync.Mutex
	seen := map[events.UserID]events.UserPushers{}
	runUntil(t, func(ctx context.Context) error {
		return h.conn.WatchPushers(ctx, func(set events.UserPushers) {
			mu.Lock()
			defer mu.Unlock()
			if old := seen[set.UserID]; set.Version <= old.Version {
				t.Errorf("%s: version %d after %d", set.UserID, set.Version, old.Version)
			}
			seen[set.UserID] = set
		}, func() {})
	})
	h.run()
	var group sync.WaitGroup
	for _, token := range []string{"alice-phone", "alice-laptop", "bob-phone"} {
		group.Go(func() {
			for i := range 60 {
				h.set(token, body(keys{"pushkey": token, "lang": fmt.Sprint(i)}))
			}
		})
	}
	group.Wait()
	want := encode(t, h.database())
	eventstest.WaitFor(t, "the watcher to see the newest", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return encode(t, seen) == want
	})
}

// TestOneUserDoesNotBlockOthers sets pushers of a user that NATS cannot store.
func TestOneUserDoesNotBlockOthers(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.set("alice-phone", body())
	h.exec(`UPDATE pushers SET data = '{"url":"` + strings.Repeat("x", 2<<20) + `"}'`)
	h.set("bob-phone", body(keys{"append": true}))
	h.run()
	eventstest.WaitFor(t, "bob's pushers", func() bool { return len(h.bucket()[bob].Pushers) == 1 })
	if h.count("outbox WHERE user_id = '"+alice+"'") == 0 {
		t.Error("alice's row was deleted although it was not published")
	}
	h.set("alice-phone", body())
	h.waitSettled()
	if n := strings.Count(h.log.String(), "the outbox cannot be published"); n != 1 {
		t.Errorf("logged %d times, want once", n)
	}
}

// A change that was answered is in NATS, so that an event which comes after the answer finds
// it. While NATS is away nobody waits for that.
func TestAnswerWaitsForNATS(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.run()
	h.waitFor("the outbox to be empty", h.reg.outbox.Settled)
	for n := range 20 {
		key := fmt.Sprint("key", n)
		h.set("alice-phone", body(keys{"pushkey": key}))
		if !slices.ContainsFunc(h.bucket()[alice].Pushers, func(p events.Pusher) bool { return p.Pushkey == key }) {
			t.Fatalf("pusher %d was answered before it was published", n)
		}
	}
	h.put("global/room/!r", firstRule)
	if set, err := h.inBucket(store.InPushRules); err != nil || len(set) != 1 {
		t.Errorf("a rule was answered before it was published: %v, %v", set, err)
	}
	h.nats.Stop()
	h.set("bob-phone", body()) // the first may have to find out
	h.waitFor("the outbox to notice", func() bool { return !h.reg.outbox.Settled() })
	began := time.Now()
	h.set("bob-phone", body(keys{"lang": "fr"}))
	if took := time.Since(began); took > 3*time.Second/2 {
		t.Errorf("a client waited %s for a NATS that is away", took)
	}
}
