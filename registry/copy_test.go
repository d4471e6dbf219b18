package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"poked/events/eventstest"
	"poked/registry/database"
	"poked/registry/store"
)

// TestCopyThereAndBack copies a database with values of every kind from a file to a server
// and back. Each copy holds the same, and a registry on it goes on: NATS needs nothing at
// first, and higher versions later.
func TestCopyThereAndBack(t *testing.T) {
	onlyFile(t)
	h := lived(t)
	h.exec("INSERT INTO account_changes (user_id, kind, log, seq) VALUES ('@a:x', 'push_rules', 5, 6)")
	want, removals := h.rows(), h.reasons()
	pushers, rules := encode(t, h.inDatabase(store.InPushers)), encode(t, h.inDatabase(store.InPushRules))
	h.close()
	server := store.Endpoint{Address: postgres.database(t)}
	back := store.Endpoint{Address: filepath.Join(t.TempDir(), "back.db")}
	for _, way := range [][2]store.Endpoint{{{Address: h.cfg.Database}, server}, {server, back}} {
		done := 0
		copied, err := store.Copy(t.Context(), way[0], way[1], false, func(n int) { done += n })
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
		h.waitFor("the first comparison", func() bool { return h.reg.outbox.Settled() })
		if after := h.buckets(); after != before || encode(t, h.inDatabase(store.InPushers)) != pushers || encode(t, h.inDatabase(store.InPushRules)) != rules {
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

// rows returns the rows of all tables that are copied, in a form that does not depend on the
// database.
func (h *house) rows() string {
	h.t.Helper()
	tables, err := store.CountRows(h.t.Context(), store.Endpoint{Address: h.cfg.Database})
	if err != nil {
		h.t.Fatal(err)
	}
	var lines []string
	for _, table := range tables {
		if err := h.reg.db.View(h.t.Context(), func(tx *database.Tx) error {
			rows, err := tx.QueryxContext(h.t.Context(), "SELECT * FROM "+table.Table)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				row := map[string]any{}
				if err := rows.MapScan(row); err != nil {
					return err
				}
				delete(row, "origin") // of the outbox: the process
				for name, value := range row {
					switch value := value.(type) {
					case []byte:
						row[name] = string(value)
					case bool:
						row[name] = map[bool]int64{true: 1}[value]
					}
				}
				lines = append(lines, table.Table+" "+fmt.Sprint(row))
			}
			return rows.Err()
		}); err != nil {
			h.t.Fatal(err)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func rowsIn(tables []store.Copied) (n int) {
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
	from, to := store.Endpoint{Address: h.cfg.Database}, store.Endpoint{Address: postgres.database(t)}
	refused := func(from, to store.Endpoint, dryRun bool, want string) {
		t.Helper()
		if _, err := store.Copy(t.Context(), from, to, dryRun, func(int) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	refused(from, to, false, "another registry has it open")
	if copied, err := store.Copy(t.Context(), from, to, true, func(int) {}); err != nil || rowsIn(copied) != 3 { // a user, a pusher, a row of the outbox
		t.Errorf("the dry run: %+v (%v)", copied, err)
	}
	h.exec("UPDATE pushers SET lang = 'a' || char(0)")
	h.close()
	refused(from, to, false, "copy pushers: M_INVALID_PARAM: no text may contain the character U+0000")
	refused(store.Endpoint{Address: h.cfg.Database + ".missing"}, to, false, "no such file")
	db := openTestDatabase(t, to.Address)
	refused(from, to, false, database.ErrInUse.Error())
	if err := db.Exec(t.Context(), "INSERT INTO users (user_id, version) VALUES ('@a:x', 1)"); err != nil { // nothing is there from the attempts
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
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
