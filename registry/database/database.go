// Package database opens the registry's database, in a SQLite file or on a PostgreSQL
// server, and runs transactions on it. It knows the two dialects and no table: the
// registry's statements work on both.
//
//	address ─▶ file ─────────▶ SQLite      one process, locked by a file
//	        └▶ postgres://… ─▶ PostgreSQL  any number of processes
//
// # What the two have in common
//
// [DB.Update] runs a change in a transaction that is on disk when it returns nil.
// [DB.View] reads one consistent state. Statements have ? for each argument. Text is
// compared byte by byte.
//
// # Where they differ
//
// SQLite has one writer at a time, and the file belongs to one process ([ErrInUse]), so
// no lock is needed and [Tx.Lock], [DB.Hold] and [DB.Lead] do nothing.
//
// On PostgreSQL transactions run in parallel. A change first locks what it is about, such
// as a user, by name ([Tx.Lock]). Names are hashed to advisory locks: two names with the
// same hash wait for each other and do no harm. Changes that lock each other out are
// repeated. [DB.Hold] holds a name across several transactions, which are bound to the
// connection that holds it: once that connection is lost, none of them can commit.
//
// # What fails, and how
//
//   - The server or the disk is away, full, starting, stopping, or a standby: [ErrAway].
//     An answer that does not come within operationTimeout counts as one.
//   - A process is paused or cut off in a transaction: the server ends it after
//     transactionTimeout, or heldTimeout if it holds a name, and others go on.
//   - The server moves to a standby: connections go to the first host of the URL that
//     accepts writes. [DB.Epoch] tells that it happened, since a standby that is not
//     synchronous may lack the last changes.
//   - The server is too old, has another encoding than UTF-8 or a newer schema, refuses
//     the password, or lacks the database: an error of [Open] that names it.
package database

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/jmoiron/sqlx"

	"poked/events/wait"
)

// ErrAway reports that the database cannot be used temporarily: its server is away or not
// writable, the disk is full, or another program holds a lock.
var ErrAway = errors.New("the database cannot be used at the moment")

// maxTries is how often a change is tried if changes lock each other out.
const maxTries = 10

// maxCollisionPause bounds the pause before a change is tried again.
const maxCollisionPause = 50 * time.Millisecond

// Options are what an operator may set about a database besides its address.
type Options struct {
	// PasswordFile is the path of a file with the password for PostgreSQL, read for each
	// connection.
	PasswordFile string
	// Conns is how many connections to PostgreSQL may be open for requests, in addition to
	// those that hold names. 0 means DefaultConns.
	Conns int
	// Exclusive refuses a database that another process has open. A SQLite file is always
	// exclusive.
	Exclusive bool
}

// DefaultConns is the default of Options.Conns.
const DefaultConns = 16

// DB is an open database.
type DB struct {
	write *sqlx.DB // of SQLite one connection, so that writers queue in order and not on its lock
	read  *sqlx.DB // of PostgreSQL the same as write
	file  *flock.Flock

	held    *sqlx.DB // connections that hold names; nil with SQLite
	present *presence
	origin  string
	timeout time.Duration // of an operation; 0 with SQLite, which has its own
}

// IsServer reports whether an address names a PostgreSQL server, and not a file.
func IsServer(address string) bool {
	return strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://")
}

// Open opens the database at an address, which is the path of a SQLite file, or the URL
// of a PostgreSQL database. It creates a missing file and brings the schema to the newest
// version. Its errors contain no password.
func Open(ctx context.Context, address string, o Options) (*DB, error) {
	d := &DB{}
	open := d.openFile
	if IsServer(address) {
		open = d.openServer
	}
	if err := open(ctx, address, o); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", Redact(address), asAway(err)), d.Close())
	}
	return d, nil
}

// OpenReader opens an existing database only for reading, while others may use it.
func OpenReader(ctx context.Context, address string, o Options) (*DB, error) {
	d := &DB{}
	open := d.openFileReader
	if IsServer(address) {
		open = d.openPool
	}
	if err := open(ctx, address, o); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", Redact(address), asAway(err)), d.Close())
	}
	return d, nil
}

// Shared reports whether other processes may use the database at the same time.
func (d *DB) Shared() bool { return d.held != nil }

// Origin is a name of this process that no other user of the database has. It is "" with
// SQLite, which has only one.
func (d *DB) Origin() string { return d.origin }

// Tx is a transaction.
type Tx struct {
	*sqlx.Tx

	server bool
	origin string
}

// Origin is that of the database; see [DB.Origin].
func (t *Tx) Origin() string { return t.origin }

// GetContext reads one row. The query has ? for each argument.
func (t *Tx) GetContext(ctx context.Context, dest any, query string, args ...any) error {
	return t.Tx.GetContext(ctx, dest, t.Rebind(query), args...)
}

// SelectContext reads all rows.
func (t *Tx) SelectContext(ctx context.Context, dest any, query string, args ...any) error {
	return t.Tx.SelectContext(ctx, dest, t.Rebind(query), args...)
}

// ExecContext runs a statement.
func (t *Tx) ExecContext(ctx context.Context, query string, args ...any) (Result, error) {
	return t.Tx.ExecContext(ctx, t.Rebind(query), args...)
}

// Result is the result of a statement.
type Result interface {
	LastInsertId() (int64, error)
	RowsAffected() (int64, error)
}

// Lock waits until no other transaction has locked any of the names, and locks them until
// the end of this one. A transaction that locks several names must do it in one call, or
// in an order that all transactions keep. With SQLite it does nothing, since a transaction
// is alone.
func (t *Tx) Lock(ctx context.Context, names ...string) error {
	if !t.server {
		return nil
	}
	for _, name := range inOrder(names) {
		if _, err := t.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", name); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
	}
	return nil
}

// Update runs change in a transaction, and returns nil once it is on disk. If changes lock
// each other out it calls change again, so change must begin anew each time. After an
// error nothing has changed, unless the connection was lost during the commit.
func (d *DB) Update(ctx context.Context, change func(*Tx) error) (err error) {
	for range maxTries {
		if err = d.transact(ctx, change); !isCollision(err) {
			break
		}
		if wait.For(ctx, rand.N(maxCollisionPause)) != nil { //nolint:gosec // it only keeps the same from colliding again
			break
		}
	}
	return asAway(err)
}

func (d *DB) transact(ctx context.Context, change func(*Tx) error) error {
	bounded, cancel := d.bound(ctx)
	defer cancel()
	tx, err := d.begin(bounded)
	if err != nil {
		return overdue(ctx, fmt.Errorf("begin: %w", err))
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if err := change(d.wrap(tx)); err != nil {
		return overdue(ctx, err)
	}
	if err := tx.Commit(); err != nil {
		return overdue(ctx, fmt.Errorf("commit: %w", err))
	}
	return nil
}

// begin begins a transaction, on the connection that holds a name if there is one.
func (d *DB) begin(ctx context.Context) (*sqlx.Tx, error) {
	if conn, ok := ctx.Value(heldKey{}).(*sqlx.Conn); ok {
		return conn.BeginTxx(ctx, nil)
	}
	return d.write.BeginTxx(ctx, nil)
}

// Bulk is [DB.Update] for a change that may take long, such as a restore.
func (d *DB) Bulk(ctx context.Context, change func(*Tx) error) error {
	tx, err := d.BeginBulk(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if err := change(tx); err != nil {
		return asAway(err)
	}
	if err := tx.Commit(); err != nil {
		return asAway(fmt.Errorf("commit: %w", err))
	}
	return nil
}

// BeginBulk begins a transaction without time limits. The caller commits it or rolls it
// back.
func (d *DB) BeginBulk(ctx context.Context) (*Tx, error) {
	tx, err := d.write.BeginTxx(ctx, nil)
	if err != nil {
		return nil, asAway(fmt.Errorf("begin: %w", err))
	}
	if d.Shared() {
		if _, err := tx.ExecContext(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0"); err != nil {
			return nil, asAway(errors.Join(fmt.Errorf("lift timeout: %w", err), tx.Rollback()))
		}
	}
	return d.wrap(tx), nil
}

// View runs look in a read transaction, on one consistent state of the database.
func (d *DB) View(ctx context.Context, look func(*Tx) error) error {
	bounded, cancel := d.bound(ctx)
	defer cancel()
	tx, err := d.read.BeginTxx(bounded, d.viewOptions())
	if err != nil {
		return asAway(overdue(ctx, fmt.Errorf("begin: %w", err)))
	}
	defer func() { _ = tx.Rollback() }() // nothing to commit
	return asAway(overdue(ctx, look(d.wrap(tx))))
}

// Get reads one row.
func (d *DB) Get(ctx context.Context, dest any, query string, args ...any) error {
	bounded, cancel := d.bound(ctx)
	defer cancel()
	return asAway(overdue(ctx, d.read.GetContext(bounded, dest, d.read.Rebind(query), args...)))
}

// Select reads all rows.
func (d *DB) Select(ctx context.Context, dest any, query string, args ...any) error {
	bounded, cancel := d.bound(ctx)
	defer cancel()
	return asAway(overdue(ctx, d.read.SelectContext(bounded, dest, d.read.Rebind(query), args...)))
}

// Exec runs one statement in a transaction of its own.
func (d *DB) Exec(ctx context.Context, query string, args ...any) error {
	bounded, cancel := d.bound(ctx)
	defer cancel()
	_, err := d.write.ExecContext(bounded, d.write.Rebind(query), args...)
	return asAway(overdue(ctx, err))
}

func (d *DB) wrap(tx *sqlx.Tx) *Tx { return &Tx{tx, d.Shared(), d.origin} }

// bound limits the time of an operation.
func (d *DB) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d.timeout)
}

// Close closes the database and releases its locks.
func (d *DB) Close() error {
	var errs []error
	if d.present != nil {
		d.present.end()
	}
	for _, db := range []*sqlx.DB{d.held, d.read, d.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if d.file != nil {
		errs = append(errs, d.file.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}
