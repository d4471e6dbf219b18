package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"poked/events/wait"
)

const (
	// maxHeld bounds how many names are held at once for requests.
	maxHeld = 12
	// maxLeads is how many connections are left for [DB.Lead] and for what shows that the
	// process uses the database.
	maxLeads = 4

	leadPause = time.Second     // between two attempts to lead
	leadPing  = 2 * time.Second // between two checks that the name is still held
)

// heldKey is the context key of the connection that holds a name.
type heldKey struct{}

// Hold waits until no other process holds the name, and holds it until release. Changes
// with the returned context are made on the connection that holds it: if that is lost, they
// fail. With SQLite it does nothing.
func (d *DB) Hold(ctx context.Context, name string) (held context.Context, release func(), err error) {
	if d.held == nil {
		return ctx, func() {}, nil
	}
	conn, err := d.conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, "SELECT pg_advisory_lock(hashtextextended($1, 0))", name)
	}
	if err != nil {
		discard(conn)
		return nil, nil, asAway(fmt.Errorf("hold: %w", err))
	}
	release = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock(hashtextextended($1, 0))", name); err != nil {
			discard(conn) // the server releases it once it sees that the connection is closed
			return
		}
		_ = conn.Close() // returns it to the pool
	}
	return context.WithValue(ctx, heldKey{}, conn), release, nil
}

// conn takes a connection that can hold a name.
func (d *DB) conn(ctx context.Context) (*sqlx.Conn, error) {
	bounded, cancel := context.WithTimeout(ctx, heldWait)
	defer cancel()
	conn, err := d.held.Connx(bounded)
	return conn, overdue(ctx, err)
}

// discard closes a connection instead of returning it to the pool.
func discard(conn *sqlx.Conn) {
	if conn == nil {
		return
	}
	_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // that is how database/sql is told
	_ = conn.Close()
}

// quit releases the names that a connection holds and closes it. Whoever wants them next has
// them at once: a server sees only after a while that a connection was closed.
func quit(ctx context.Context, conn *sqlx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leadPing)
	defer cancel()
	_, _ = conn.ExecContext(ctx, "SELECT pg_advisory_unlock_all()") // if that fails, the server sees it later
	discard(conn)
}

// Lead calls lead while this process, and no other, holds the name, and ends the context
// of lead once that is no longer certain. It returns when ctx ends, or with the error of
// lead. A process that no longer runs is followed by another within seconds, one that is
// paused after heldTimeout. With SQLite it only calls lead.
func (d *DB) Lead(ctx context.Context, name string, lead func(context.Context) error) error {
	if d.held == nil {
		return lead(ctx)
	}
	for ctx.Err() == nil {
		conn, err := d.try(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", name)
		if err != nil || conn == nil {
			_ = wait.For(ctx, leadPause) // the loop checks ctx
			continue
		}
		leading, stop := context.WithCancel(ctx)
		var pinger sync.WaitGroup
		pinger.Go(func() { ping(leading, conn); stop() })
		err = lead(leading)
		lost := leading.Err() != nil && ctx.Err() == nil
		stop()
		pinger.Wait()
		quit(ctx, conn)
		if err != nil && !lost {
			return err
		}
	}
	return nil
}

// Alone calls do if this process can hold the name while it runs, and reports whether it
// did. With SQLite it always does.
func (d *DB) Alone(ctx context.Context, name string, do func(context.Context) error) (done bool, err error) {
	if d.held == nil {
		return true, do(ctx)
	}
	conn, err := d.try(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", name)
	if err != nil || conn == nil {
		return false, asAway(err)
	}
	defer quit(ctx, conn)
	running, stop := context.WithCancel(ctx)
	var pinger sync.WaitGroup
	pinger.Go(func() { ping(running, conn) })
	defer pinger.Wait()
	defer stop()
	return true, do(ctx)
}

// try locks a name without waiting. It returns the connection that holds it, or nil.
func (d *DB) try(ctx context.Context, query, name string) (*sqlx.Conn, error) {
	conn, err := d.conn(ctx)
	if err != nil {
		return nil, err
	}
	var locked bool
	if err := conn.GetContext(ctx, &locked, query, name); err != nil || !locked {
		discard(conn)
		return nil, err
	}
	return conn, nil
}

// ping returns when the connection is lost, and soon after ctx ended. It does not break off a
// ping that is under way: pgx would close the connection.
func ping(ctx context.Context, conn *sqlx.Conn) {
	for wait.For(ctx, leadPing) == nil {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), leadPing)
		err := conn.PingContext(bounded)
		cancel()
		if err != nil {
			return
		}
	}
}

// presence shows other processes that this one uses the database.
type presence struct {
	stop   context.CancelFunc
	runner sync.WaitGroup
}

// inUse is the name that every user of the database holds: registries share it, a program
// that needs the database for itself does not.
const inUse = "in use"

// appear holds inUse until end, also after the connection was lost and another is there.
func (d *DB) appear(ctx context.Context, exclusive bool) (*presence, error) {
	query := "SELECT pg_try_advisory_lock_shared(hashtextextended($1, 0))"
	if exclusive {
		query = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
	}
	conn, err := d.try(ctx, query, inUse)
	switch {
	case err != nil:
		return nil, err
	case conn == nil && exclusive:
		return nil, ErrInUse
	case conn == nil:
		return nil, fmt.Errorf("%w: %w", ErrAway, errors.New("another program has it for itself, such as a copy or a restore"))
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	p := &presence{stop: stop}
	p.runner.Go(func() {
		for {
			if conn != nil {
				ping(running, conn)
				quit(ctx, conn)
			}
			if running.Err() != nil {
				return
			}
			if conn, _ = d.try(running, query, inUse); conn == nil { // it is tried until it works
				_ = wait.For(running, leadPause) // the loop checks running
			}
		}
	})
	return p, nil
}

func (p *presence) end() {
	p.stop()
	p.runner.Wait()
}

// inOrder returns the names in the order in which they are locked, each once.
func inOrder(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}
