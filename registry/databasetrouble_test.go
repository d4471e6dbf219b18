package registry

import (
	"database/sql"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poked/events/eventstest"
)

// wantAway checks that a set gets 503 with Retry-After and an errcode, and that the
// registry is not ready.
func (h *house) wantAway() {
	h.t.Helper()
	status, header, raw := h.request(http.MethodPost, "/_matrix/client/v3/pushers/set", "alice-phone", encode(h.t, body()))
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") != "10" || !strings.Contains(string(raw), `"M_UNKNOWN"`) {
		h.t.Errorf("%d, Retry-After %q, %s", status, header.Get("Retry-After"), raw)
	}
	if why := h.reg.Unready(); !strings.Contains(why, "the database cannot be written") {
		h.t.Errorf("ready, or unready for another reason: %q", why)
	}
}

// TestG14LockedDatabase keeps the database locked by another program.
func TestG14LockedDatabase(t *testing.T) {
	onlyFile(t)
	eventstest.Long(t)
	h := newHouse(t)
	defer h.run()()
	h.set("alice-phone", body())
	h.waitSettled()
	other, err := sql.Open("sqlite3", "file:"+h.cfg.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	conn, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	eventstest.WaitFor(t, "it to be noticed without a client", func() bool { return h.reg.Unready() != "" })
	h.wantAway()
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	eventstest.WaitFor(t, "it to be ready", func() bool { return h.reg.Unready() == "" })
	h.set("alice-phone", body())
}

// TestG14FullDiskUnderTheDatabase fills the disk of the database.
func TestG14FullDiskUnderTheDatabase(t *testing.T) {
	onlyFile(t)
	eventstest.Long(t)
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("this test needs a small disk, and mounting one is not permitted: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	h := newHouse(t, func(c *Config) { c.Database = filepath.Join(disk, "poked.db") })
	defer h.run()()
	h.set("alice-phone", body())
	h.waitSettled()
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 8<<20), 0o600); err == nil {
		t.Fatal("the disk is larger than it should be")
	}
	eventstest.WaitFor(t, "a write to fail", func() bool {
		status, _, _ := h.request(http.MethodPost, "/_matrix/client/v3/pushers/set", "alice-phone", encode(t, body(map[string]any{"lang": time.Now().String()})))
		return status != http.StatusOK
	})
	h.wantAway()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventstest.WaitFor(t, "it to be ready", func() bool { return h.reg.Unready() == "" })
	h.set("alice-phone", body())
}
