package registry

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poked/events/pushgateway"
	"poked/registry/database"
	"poked/registry/store"
)

func importer(t *testing.T, path string, dryRun bool) *Importer {
	t.Helper()
	policy, err := pushgateway.NewPolicy(nil, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	i, err := OpenImporter(t.Context(), path, database.Options{}, policy, dryRun)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// Imported pushers are published to NATS when the registry starts, and do not replace
// pushers that clients set.
func TestImport(t *testing.T) {
	h := newHouse(t)
	h.set("alice-phone", body(keys{"pushkey": "here", "lang": "fr"}))
	h.close()
	set := time.UnixMilli(1700000000999)
	for _, dryRun := range []bool{true, false} {
		i := importer(t, h.cfg.Database, dryRun)
		for _, p := range []struct {
			name string
			Import
			want string // in the error
		}{
			{"alice's old one", Import{alice, "OLD", set, body(keys{"pushkey": "old", "enabled": false})}, ""},
			{"alice's old one again", Import{alice, "OLD", set, body(keys{"pushkey": "old"})}, "there already"},
			{"alice's newer one", Import{alice, "OLD", set, body(keys{"pushkey": "here"})}, "there already"},
			{"bob with alice's", Import{bob, "", time.Time{}, body(keys{"pushkey": "old"})}, ""},
			{"mail", Import{bob, "", set, body(keys{"kind": "email"})}, `kind must be "http"`},
			{"nowhere", Import{bob, "", set, body(keys{"data": keys{}})}, "data.url"},
			{"no user", Import{"bob", "", set, body()}, "user"},
			{"no kind", Import{bob, "", set, body(keys{"kind": null})}, "kind"},
		} {
			err := i.Add(t.Context(), p.Import)
			switch {
			case p.want == "" && err == nil:
			case p.want == "" || !errors.Is(err, store.ErrNotImported) || !strings.Contains(err.Error(), p.want):
				t.Errorf("dry run %v: %s: %v, want %q", dryRun, p.name, err, p.want)
			}
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
	h.open()
	h.run()
	h.waitSettled()
	published := h.bucket()
	if got := published[alice].Pushers; len(got) != 2 || got[0].Lang != "fr" || got[1].PushkeyTS != set.Unix() || !got[1].Disabled || got[1].DeviceID != "OLD" {
		t.Errorf("alice has %+v", got)
	}
	if got := published[bob].Pushers; len(got) != 1 || got[0].Pushkey != "old" {
		t.Errorf("bob has %+v", got)
	}
}

func TestImportIsNotForARunningRegistry(t *testing.T) {
	h := newHouse(t)
	if _, err := OpenImporter(t.Context(), h.cfg.Database, database.Options{}, new(pushgateway.Policy), false); err == nil {
		t.Error("opened while a registry runs")
	}
}

// A dry run without a database leaves no file.
func TestImportDryRunLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	path := filepath.Join(t.TempDir(), "poked.db")
	i := importer(t, path, true)
	for n := range maxMaxPushers + 1 {
		err := i.Add(t.Context(), Import{UserID: alice, Body: body(keys{"pushkey": strings.Repeat("k", n+1)})})
		if full := n == maxMaxPushers; errors.Is(err, store.ErrNotImported) != full {
			t.Errorf("pusher %d: %v", n, err)
		}
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
