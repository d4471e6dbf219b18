package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"poked/events/eventstest"
	"poked/registry/database"
)

// TestCopyThereAndBack copies a database with values of every kind from a file to a server
// and back. Each copy holds the same, and a registry on it goes on: NATS needs nothing at
// first, and higher versions later.
func TestCopyThereAndBack(t *testing.T) {
	onlyFile(t)
	h := lived(t)
	h.exec("INSERT INTO account_changes (user_id, kind, log, seq) VALUES ('@a:x', 'push_rules', 5, 6)")
	want, removals := h.rows(), h.reasons()
	pushers, rules := encode(t, h.inDatabase(inPushers)), encode(t, h.inDatabase(inPushRules))
	h.close()
	server := Endpoint{Address: postgres.database(t)}
	back := Endpoint{Address: filepath.Join(t.TempDir(), "back.db")}
	for _, way := range [][2]Endpoint{{{Address: h.cfg.Database}, server}, {server, back}} {
		done := 0
		copied, err := Copy(t.Context(), way[0], way[1], false, func(n int) { done += n })
		if err != nil {
			t.Fatal(err)
		}
		if total := rowsIn(copied); total < 18 || done != 2*total {
			t.Errorf("%d rows copied and compared, want twice %d: %+v", done, total, copied)
		}
		h.cfg.Database = way[1].Address
		h.open()
		if got := h.rows(); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
		if got := h.reasons(); got != removals || removals == "" {
			t.Errorf("removals %q, want %q", got, removals)
		}
		before := h.buckets()
		stop := h.run()
		h.waitFor("the first comparison", func() bool { return h.reg.outbox.settled.Load() })
		if after := h.buckets(); after != before || encode(t, h.inDatabase(inPushers)) != pushers || encode(t, h.inDatabase(inPushRules)) != rules {
			t.Errorf("the registry published something: %s, before %s", after, before)
		}
		stop()
		h.close()
	}
	h.cfg.Database = server.Address
	h.open()
	h.run()
	h.set("alice-phone", body(keys{"pushkey": "later"})) // ids go on after those that were copied
	h.set("alice-phone", body(keys{"pushkey": "later", "kind": null}))
	h.put("global/room/later", firstRule)
	h.waitSettled()
}

// rows returns the rows of all tables.
func (h *house) rows() string {
	h.t.Helper()
	var text strings.Builder
	if err := h.reg.store.view(h.t.Context(), func(tx *database.Tx) error {
		for _, table := range copiedTables() {
			if err := table.read(h.t.Context(), tx, func(row []any) error {
				_, err := fmt.Fprintln(&text, table.name, table.typed(row))
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		h.t.Fatal(err)
	}
	return text.String()
}

func rowsIn(tables []Copied) (n int) {
	for _, t := range tables {
		n += t.Rows
	}
	return n
}

// TestCopyRefuses copies nothing from or to a database that is in use, onto users, or what
// the target cannot store. After that the target is as empty as before.
func TestCopyRefuses(t *testing.T) {
	onlyFile(t)
	h := newHouse(t)
	h.set("alice-phone", body())
	from, to := Endpoint{Address: h.cfg.Database}, Endpoint{Address: postgres.database(t)}
	refused := func(from, to Endpoint, dryRun bool, want string) {
		t.Helper()
		if _, err := Copy(t.Context(), from, to, dryRun, func(int) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	refused(from, to, false, "another registry has it open")
	if copied, err := Copy(t.Context(), from, to, true, func(int) {}); err != nil || rowsIn(copied) != 3 { // a user, a pusher, a row of the outbox
		t.Errorf("the dry run: %+v (%v)", copied, err)
	}
	h.exec("UPDATE pushers SET lang = 'a' || char(0)")
	h.close()
	refused(from, to, false, "copy pushers: M_INVALID_PARAM: no text may contain the character U+0000")
	refused(Endpoint{Address: h.cfg.Database + ".missing"}, to, false, "no such file")
	s := openTestStore(t, to.Address)
	refused(from, to, false, database.ErrInUse.Error())
	if err := s.db.Exec(t.Context(), "INSERT INTO users (user_id, version) VALUES ('@a:x', 1)"); err != nil { // nothing is there from the attempts
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dryRun := range []bool{false, true} {
		refused(from, to, dryRun, "already contains users")
	}
}

// TestBackupWhileRunning backs a database up while clients change it, and restores it. What
// was answered before the backup is in it, and NATS follows it.
func TestBackupWhileRunning(t *testing.T) {
	eventstest.Long(t)
	onlyFile(t)
	h := newHouse(t)
	stop := h.run()
	for i := range 20 {
		h.set("bob-phone", body(keys{"pushkey": fmt.Sprint("before", i), "append": true}))
	}
	var client sync.WaitGroup
	client.Go(func() {
		for i := range 40 {
			h.set("alice-phone", body(keys{"pushkey": "k", "lang": fmt.Sprint(i), "append": true}))
		}
	})
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := database.Backup(t.Context(), h.cfg.Database, backup); err != nil {
		t.Fatal(err)
	}
	client.Wait()
	if info, err := os.Stat(backup); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	if err := database.Backup(t.Context(), h.cfg.Database, backup); err == nil {
		t.Error("an older backup was overwritten")
	}
	if err := database.Backup(t.Context(), "postgres://x/y", backup+"2"); !errors.Is(err, database.ErrServer) {
		t.Errorf("a server: %v", err)
	}
	h.waitSettled()
	version := h.bucket()[alice].Version
	stop()
	h.close()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		_ = os.Remove(h.cfg.Database + suffix)
	}
	if err := os.Rename(backup, h.cfg.Database); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.run()
	h.waitSettled()
	if n := len(h.bucket()[bob].Pushers); n != 20 {
		t.Errorf("%d pushers from before the backup", n)
	}
	if set := h.bucket()[alice]; set.Version != 0 && set.Version <= version {
		t.Errorf("version %d after the restore, %d before", set.Version, version)
	}
	status, _, answer := h.request(http.MethodGet, prefixV3+"/pushers", "alice-phone", "")
	if status != http.StatusOK || !json.Valid(answer) {
		t.Errorf("%d %s", status, answer)
	}
}
