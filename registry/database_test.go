package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"poked/events/eventstest"
	"poked/registry/database"
	"poked/registry/database/pgserver"
	"poked/registry/store"
)

// The tests run on SQLite, and with POKED_TEST_DATABASE=postgres on PostgreSQL. Those of
// eachDatabase run on both in any case.

// postgresServer is the server of all tests of the process, started when the first needs
// it. TestMain stops it.
type postgresServer struct {
	once   sync.Once
	server *pgserver.Server
	err    error
	made   atomic.Int64 // databases
}

var postgres postgresServer

// emptyDatabase is a database with the newest schema, from which the tests' are copied.
const emptyDatabase = "empty"

func (p *postgresServer) start() {
	ctx := context.Background()
	if p.server, p.err = pgserver.Start(ctx, pgserver.Options{}); p.err != nil {
		return
	}
	if p.err = p.server.Exec(ctx, "postgres", "CREATE DATABASE "+emptyDatabase); p.err != nil {
		return
	}
	db, err := database.Open(ctx, p.server.SocketURL(emptyDatabase), database.Options{})
	if p.err = err; err == nil {
		p.err = db.Close()
	}
}

// get returns the server. Without PostgreSQL it skips the test, or fails it in CI.
func (p *postgresServer) get(t testing.TB) *pgserver.Server {
	t.Helper()
	eventstest.Long(t)
	p.once.Do(p.start)
	if errors.Is(p.err, pgserver.ErrMissing) && os.Getenv("CI") == "" {
		t.Skip("not tested on PostgreSQL: ", p.err)
	}
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.server
}

// database makes a database and returns its URL.
func (p *postgresServer) database(t testing.TB) string {
	t.Helper()
	server := p.get(t)
	name := fmt.Sprintf("test_%d", p.made.Add(1))
	if err := server.Exec(t.Context(), "postgres", "CREATE DATABASE "+name+" TEMPLATE "+emptyDatabase); err != nil {
		t.Fatal(err)
	}
	return server.SocketURL(name)
}

func (p *postgresServer) stop() error {
	if p.server == nil {
		return nil
	}
	return p.server.Stop()
}

// onPostgres reports whether the tests run on PostgreSQL.
func onPostgres() bool { return os.Getenv("POKED_TEST_DATABASE") == "postgres" }

// newDatabase returns the address of an empty database.
func newDatabase(t testing.TB) string {
	t.Helper()
	if onPostgres() {
		return postgres.database(t)
	}
	return filepath.Join(t.TempDir(), "poked.db")
}

// onlyFile skips a test about files on PostgreSQL.
func onlyFile(t testing.TB) {
	t.Helper()
	if onPostgres() {
		t.Skip("it is about the files of SQLite")
	}
}

// eachDatabase runs a test on both kinds of database. setDatabase makes a house use it.
func eachDatabase(t *testing.T, test func(t *testing.T, setDatabase func(*Config))) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		onlyFile(t) // or it would run twice on the other
		test(t, func(*Config) {})
	})
	t.Run("postgres", func(t *testing.T) {
		address := postgres.database(t)
		test(t, func(c *Config) { c.Database = address })
	})
}

func openTestDatabase(t *testing.T, address string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), address, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func openTestStore(t *testing.T, address string) *store.Store {
	t.Helper()
	return store.New(openTestDatabase(t, address), store.Options{MaxPushers: defaultMaxPushers})
}

// loadPending returns the values that are to be published.
func loadPending(ctx context.Context, s *store.Store) ([]store.Value, error) {
	left, err := s.NewestRow(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.Unpublished(ctx, left, 10)
	if err != nil {
		return nil, err
	}
	return s.Load(ctx, list)
}

// trigger makes the database run a statement on an event of a table.
func (h *house) trigger(name, event, statement string) {
	h.t.Helper()
	if !h.reg.db.Shared() {
		h.exec("CREATE TRIGGER " + name + " " + event + " BEGIN " + statement + " END")
		return
	}
	h.exec("CREATE FUNCTION " + name + "() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " + statement + " RETURN new; END $$")
	h.exec("CREATE TRIGGER " + name + " " + event + " FOR EACH ROW EXECUTE FUNCTION " + name + "()")
}

// forbid makes each DELETE from, or INSERT into, a table fail until allow.
func (h *house) forbid(event, table string) {
	h.t.Helper()
	statement := "SELECT raise(ABORT, 'broken');"
	if h.reg.db.Shared() {
		statement = "RAISE EXCEPTION 'broken';"
	}
	h.trigger("broken", "BEFORE "+event+" ON "+table, statement)
	h.forbidden = table
}

func (h *house) allow() {
	h.t.Helper()
	if !h.reg.db.Shared() {
		h.exec("DROP TRIGGER broken")
		return
	}
	h.exec("DROP TRIGGER broken ON " + h.forbidden)
	h.exec("DROP FUNCTION broken")
}

// oddest returns the oddest character that the database can store. PostgreSQL has no text
// with U+0000.
func oddest(t *testing.T) string {
	t.Helper()
	if onPostgres() {
		return "\u0001"
	}
	return "\u0000"
}

// content returns the content of the database in some form.
func (h *house) content() []byte {
	h.t.Helper()
	if h.isPostgres() {
		var versions []string
		db := openTestDatabase(h.t, h.cfg.Database)
		if err := db.Select(h.t.Context(), &versions, "SELECT user_id || version || ' ' || rules_version FROM users ORDER BY user_id"); err != nil {
			h.t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			h.t.Fatal(err)
		}
		return []byte(strings.Join(versions, "\n"))
	}
	content, err := os.ReadFile(h.cfg.Database)
	if err != nil {
		h.t.Fatal(err)
	}
	return content
}

// isPostgres reports whether the house has a PostgreSQL database.
func (h *house) isPostgres() bool { return strings.HasPrefix(h.cfg.Database, "postgres") }
