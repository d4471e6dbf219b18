package registry

import (
	"fmt"
	"path/filepath"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/registry/database"
	"poked/registry/store"
)

// The reasons of removals can be read while the registry runs.
func TestRemovals(t *testing.T) {
	eventstest.Long(t)
	h, _ := newHomeserverHouse(t)
	h.setAll()
	h.request("POST", prefixV3+"/logout", "bob-phone", "{}")
	h.request("POST", prefixV3+"/account/password", "alice-phone", "{}")
	for user, want := range map[events.UserID]string{
		"":               "[@alice:example.org password changed @bob:example.org logout]",
		alice:            "[@alice:example.org password changed]",
		"@nobody:x":      "[]",
		"' OR user_id<>": "[]",
	} {
		list, err := store.Removals(t.Context(), h.cfg.Database, database.Options{}, user, 10)
		if err != nil {
			t.Fatal(err)
		}
		said := []string{}
		for _, r := range list {
			said = append(said, string(r.UserID), r.Reason)
		}
		if got := fmt.Sprint(said); got != want {
			t.Errorf("%q: %s, want %s", user, got, want)
		}
	}
	if list, err := store.Removals(t.Context(), h.cfg.Database, database.Options{}, "", 1); len(list) != 1 || list[0].At == 0 || err != nil {
		t.Errorf("the newest: %+v, %v", list, err)
	}
	path := filepath.Join(t.TempDir(), "none.db")
	if _, err := store.Removals(t.Context(), path, database.Options{}, "", 1); err == nil {
		t.Error("read a database that does not exist")
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 0 {
		t.Errorf("created %v", left)
	}
}
