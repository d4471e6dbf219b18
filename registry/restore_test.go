package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/pushrule"
	"poked/registry/database"
	"poked/registry/outbox"
	"poked/registry/store"
)

// lived returns a stopped registry whose buckets have values of every kind.
func lived(t *testing.T) *house {
	h := newHouse(t, withQuiet)
	stop := h.run()
	h.set("alice-phone", body(keys{"pushkey": "a"}))
	h.set("alice-phone", body(keys{"pushkey": "a", "lang": "de"}))
	h.set("alice-laptop", body(keys{"pushkey": "b", "append": true, "app_id": "org.example.other", "device_display_name": "Läptop"}))
	h.set("bob-phone", body(keys{"pushkey": "c", "append": true}))
	h.set("alice-phone", body(keys{"pushkey": "gone"}))
	h.set("alice-phone", body(keys{"pushkey": "gone", "kind": null}))
	for i := range 5 {
		h.put(fmt.Sprint("global/override/mine", i), `{"conditions":[{"kind":"future","x":1}],"actions":["notify"]}`)
	}
	h.put("global/content/word", `{"pattern":"wörd","actions":[]}`)
	h.put("global/room/%21r:example.org", firstRule)
	h.put("global/override/mine1/enabled", `{"enabled":false}`)
	h.put("global/override/.m.rule.master/enabled", `{"enabled":true}`)
	h.put("global/underride/.m.rule.message/actions", `{"actions":["notify",{"set_tweak":"sound","value":"x"}]}`)
	h.put("device/handle/content/a", `{"pattern":"x","actions":["notify"]}`)
	rules := pushrule.Predefined(bob)
	if err := errors.Join(
		h.reg.store.SetPublished(t.Context(), bob, &rules), h.reg.store.SetIgnored(t.Context(), bob, []events.UserID{"@eve:x"}),
		h.reg.store.SetDoNotDisturb(t.Context(), bob, &events.DoNotDisturb{Rooms: []events.RoomID{events.EveryRoom}}),
	); err != nil {
		t.Fatal(err)
	}
	h.waitSettled()
	stop()
	return h
}

// buckets returns the contents of both buckets and their last sequences.
func (h *house) buckets() string {
	h.t.Helper()
	var all []any
	for _, b := range []store.Bucket{store.InPushers, store.InPushRules} {
		held, err := h.inBucket(b)
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, held)
		for _, msg := range h.nats.Stored("KV_"+string(b), "") {
			all = append(all, msg.Seq)
		}
	}
	return encode(h.t, all)
}

// TestRestoreFromNATS loses the database and restores it from NATS. The registry that
// opens it then has the same values as before, and publishes nothing: neither older
// values nor the same ones again.
func TestRestoreFromNATS(t *testing.T) {
	eventstest.Long(t)
	h := lived(t)
	before, pushers, rules := h.buckets(), h.inDatabase(store.InPushers), h.inDatabase(store.InPushRules)
	h.close()
	h.cfg.Database = filepath.Join(t.TempDir(), "new.db")
	if _, err := Open(t.Context(), h.cfg, nil, h.conn, h.reg.log); !errors.Is(err, outbox.ErrLost) {
		t.Errorf("a registry without its database begins: %v", err)
	}
	steps := 0
	restored, err := Restore(t.Context(), h.cfg.Database, database.Options{}, h.conn, false, func() { steps++ })
	if want := (store.Restored{Users: 2, Pushers: 3, RuleUsers: 2, Rules: 8}); err != nil || restored != want || steps != 4 {
		t.Fatalf("restored %+v (%v), want %+v; progress %d", restored, err, want, steps)
	}
	h.open()
	if n := h.count("outbox"); n != 0 {
		t.Errorf("the outbox holds %d rows", n)
	}
	if got := h.inDatabase(store.InPushers); encode(t, got) != encode(t, pushers) {
		t.Errorf("pushers:\n%s\nwant\n%s", encode(t, got), encode(t, pushers))
	}
	if got := h.inDatabase(store.InPushRules); encode(t, got) != encode(t, rules) {
		t.Errorf("push rules:\n%s\nwant\n%s", encode(t, got), encode(t, rules))
	}
	h.run()
	eventstest.WaitFor(t, "the registry to be ready", func() bool { return h.reg.Unready() == "" })
	if after := h.buckets(); after != before {
		t.Errorf("the registry published:\n%s\nbefore\n%s", after, before)
	}
	h.goesOn(pushers[alice].Version)
}

// goesOn changes restored values, and checks that newer versions are published.
func (h *house) goesOn(version int64) {
	h.t.Helper()
	old := h.bucket()[alice].Pushers
	// A rejection of the restored pusher applies to it; one of an earlier pusher does
	// not.
	for _, ts := range []int64{old[0].PushkeyTS - 1, old[0].PushkeyTS} {
		gone, err := h.reg.store.Reject(h.t.Context(), events.Rejection{
			UserID: alice, AppID: old[0].AppID, Pushkey: old[0].Pushkey, PushkeyTS: ts, Gateway: "https://x",
		})
		if want := ts == old[0].PushkeyTS; err != nil || (len(gone) == 1) != want {
			h.t.Errorf("rejected: %+v (%v)", gone, err)
		}
	}
	h.put("global/override/first", `{"conditions":[],"actions":[]}`)
	h.waitSettled()
	if got := h.bucket()[alice]; got.Version <= version || len(got.Pushers) != 1 {
		h.t.Errorf("after a change NATS has %+v", got)
	}
	if got := h.rulesOfAlice().Changes.Override; got[0].ID != "first" || got[1].ID != "mine4" || got[5].ID != "mine0" {
		h.t.Errorf("the rules have another order: %+v", got)
	}
}

func TestRestoreOverwritesNothing(t *testing.T) {
	eventstest.Long(t)
	h := lived(t)
	refused := func(word string) {
		t.Helper()
		for _, dry := range []bool{false, true} {
			if _, err := Restore(t.Context(), h.cfg.Database, database.Options{}, h.conn, dry, func() {}); err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("restored: %v, want %s", err, word)
			}
		}
	}
	refused("another registry has it open")
	h.close()
	before := h.content()
	refused("move it away first")
	if !bytes.Equal(h.content(), before) {
		t.Error("the database was changed")
	}
	onlyFile(t)
	writeFile(t, h.cfg.Database, strings.Repeat("no database ", 1000))
	refused("not a database")
}

// TestRestoreDryRun counts, creates no file, and writes into no existing one.
func TestRestoreDryRun(t *testing.T) {
	eventstest.Long(t)
	h := lived(t)
	path := filepath.Join(t.TempDir(), "new.db")
	dry := func() {
		t.Helper()
		restored, err := Restore(t.Context(), path, database.Options{}, h.conn, true, func() {})
		if err != nil || restored.Pushers != 3 || restored.Rules != 8 {
			t.Errorf("%+v (%v)", restored, err)
		}
	}
	dry()
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 0 {
		t.Errorf("it left %v (%v)", entries, err)
	}
	if err := openTestDatabase(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	dry()
	s := openTestStore(t, path)
	if values, err := s.ValuesAfter(t.Context(), store.InPushers, "", 10); err != nil || len(values) != 0 {
		t.Errorf("it wrote %d users (%v)", len(values), err)
	}
}

// TestRestoreIsAllOrNothing interrupts a restore.
func TestRestoreIsAllOrNothing(t *testing.T) {
	eventstest.Long(t)
	h := lived(t)
	h.close()
	path := filepath.Join(t.TempDir(), "new.db")
	h.nats.Publish("$KV.PUSHERS.0."+events.Token("@zoe:x"), `{"user_id":"@zoe:x","version":3,"pushers":[{"pushkey":1}]}`)
	steps := 0
	broken, cancel := context.WithCancel(t.Context())
	if _, err := Restore(broken, path, database.Options{}, h.conn, false, func() {
		if steps++; steps == 3 {
			cancel()
		}
	}); err == nil {
		t.Error("the restore succeeded")
	}
	restored, err := Restore(t.Context(), path, database.Options{}, h.conn, false, func() {})
	if want := (store.Restored{Users: 2, Pushers: 3, RuleUsers: 2, Rules: 8, Unreadable: 1}); err != nil || restored != want {
		t.Errorf("the second restore restored %+v (%v), want %+v", restored, err, want)
	}
}

// TestStartEmpty starts with the operator's confirmation that the values in NATS may be
// deleted.
func TestStartEmpty(t *testing.T) {
	eventstest.Long(t)
	h := lived(t)
	h.close()
	h.cfg.Database, h.cfg.StartEmpty = filepath.Join(t.TempDir(), "new.db"), true
	h.open()
	h.run()
	eventstest.WaitFor(t, "the buckets to be empty", func() bool {
		rules, err := h.inBucket(store.InPushRules)
		return err == nil && len(rules) == 0 && len(h.bucket()) == 0
	})
	if status, _, answer := h.request(http.MethodGet, prefixV3+"/pushers", "alice-phone", ""); status != http.StatusOK ||
		!json.Valid(answer) || strings.Contains(string(answer), "pushkey") {
		t.Errorf("%d %s", status, answer)
	}
}
