package registry

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"poked/events"
	"poked/events/eventstest"
)

// TestG11AnsweredIsOnDisk copies the files as they are when 200 has come, which
// is what a crash would leave, and looks into the copy.
func TestG11AnsweredIsOnDisk(t *testing.T) {
	h := newHouse(t)
	h.set("alice-phone", body())
	h.put("global/room/a", firstRule)
	pushers, rules := h.inDatabase(inPushers)[alice], h.inDatabase(inPushRules)[alice]
	copied := filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(h.cfg.Database + suffix)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, copied+suffix, string(content))
	}
	s := openTestStore(t, copied)
	owed, err := s.Owed(t.Context(), 10)
	if err != nil || len(owed.values) != 2 || encode(t, owed.values[0].content) != encode(t, pushers.Content) ||
		encode(t, owed.values[1].content) != encode(t, rules.Content) {
		t.Errorf("owed after a crash: %+v %v, want %+v and %+v", owed, err, pushers, rules)
	}
}

func TestG11NATSAway(t *testing.T) {
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

// TestCrashAround wants every way in which the outbox can be cut off to end with
// buckets that say what the database says.
func TestCrashAround(t *testing.T) {
	for _, c := range []struct {
		name  string
		crash func(h *house) // what was done of telling, before the end
	}{
		{"telling", func(*house) {}},
		{"deleting the row", func(h *house) { h.tell() }},
		{"deleting the row, with a change since", func(h *house) {
			h.tell()
			h.set("alice-phone", body(keys{"lang": "fr"}))
			h.put("global/room/a", secondRule)
		}},
		{"deleting the row of a deletion", func(h *house) {
			h.tell()
			h.set("alice-phone", body(keys{"kind": null}))
			h.rule("DELETE", "global/room/a", "")
			h.tell()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.set("alice-phone", body())
			h.put("global/room/a", firstRule)
			c.crash(h)
			h.close()
			h.open()
			both := func() string { return encode(t, []any{h.inDatabase(inPushers), h.inDatabase(inPushRules)}) }
			want := both()
			h.run()
			h.waitSettled()
			if got := both(); got != want {
				t.Errorf("the database changed from %s to %s", want, got)
			}
		})
	}
}

// TestTellingFails breaks each step of telling NATS once: what is sent is refused,
// is stored though the answer gets lost, or stays in the outbox though NATS has it.
func TestTellingFails(t *testing.T) {
	for _, b := range []bucket{inPushers, inPushRules} {
		for name, fault := range map[string]eventstest.Fault{"refused": eventstest.Refuse, "stored": eventstest.LoseAnswer} {
			t.Run(string(b)+" "+name, func(t *testing.T) {
				h := newHouse(t)
				link := h.nats.Link()
				h.close()
				h.conn = link.Connect(t, eventstest.Topology())
				h.open()
				h.set("alice-phone", body())
				h.put("global/room/a", firstRule)
				met := link.Break("$KV."+string(b)+".", fault)
				h.run()
				eventstest.WaitFor(t, "the fault", met)
				h.waitSettled()
			})
		}
	}
	t.Run("not deleted", func(t *testing.T) {
		h := newHouse(t)
		h.set("alice-phone", body())
		h.put("global/room/a", firstRule)
		h.exec("CREATE TRIGGER broken BEFORE DELETE ON outbox BEGIN SELECT raise(ABORT, 'broken'); END")
		h.run()
		eventstest.WaitFor(t, "the outbox to fail", func() bool { return strings.Contains(h.log.String(), "cannot tell nats") })
		h.put("global/room/a", secondRule)
		h.exec("DROP TRIGGER broken")
		h.waitSettled()
		if got := h.inDatabase(inPushRules)[alice].Version; got != 2 {
			t.Errorf("version %d, want 2", got)
		}
	})
}

// tell tells NATS the head of the outbox and leaves the rows where they are.
func (h *house) tell() {
	h.t.Helper()
	owed, err := h.reg.store.Owed(h.t.Context(), 10)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, v := range owed.values {
		if err := v.put(h.t.Context(), h.conn); err != nil {
			h.t.Fatal(err)
		}
	}
}

// TestOutboxKeepsOrder changes two users at once while the outbox runs: whoever
// watches sees each user's versions grow and at last the newest.
func TestOutboxKeepsOrder(t *testing.T) {
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

// TestOneUserDoesNotKeepOthers has a user whose pushers NATS cannot take.
func TestOneUserDoesNotKeepOthers(t *testing.T) {
	h := newHouse(t)
	h.set("alice-phone", body())
	h.exec(`UPDATE pushers SET data = '{"url":"` + strings.Repeat("x", 2<<20) + `"}'`)
	h.set("bob-phone", body(keys{"append": true}))
	h.run()
	eventstest.WaitFor(t, "bob's pushers", func() bool { return len(h.bucket()[bob].Pushers) == 1 })
	if h.count("outbox WHERE user_id = '"+alice+"'") == 0 {
		t.Error("alice's row is gone though nobody was told")
	}
	h.set("alice-phone", body())
	h.waitSettled()
	if n := strings.Count(h.log.String(), "cannot tell nats"); n != 1 {
		t.Errorf("logged %d times, want once", n)
	}
}
