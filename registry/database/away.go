package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mattn/go-sqlite3"
)

// asAway wraps err in [ErrAway] if the cause may be temporary.
func asAway(err error) error {
	if err == nil || errors.Is(err, ErrAway) || !isTemporary(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrAway, err)
}

func isTemporary(err error) bool {
	var file sqlite3.Error
	var server *pgconn.PgError
	switch {
	case errors.As(err, &file):
		switch file.Code {
		case sqlite3.ErrFull, sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrIoErr, sqlite3.ErrCantOpen, sqlite3.ErrNomem:
			return true
		}
		return false
	case errors.As(err, &server):
		return isTemporaryState(server.Code)
	case errors.As(err, new(unsuitableError)), errors.Is(err, ErrInUse):
		return false
	}
	var refused *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &refused) || errors.As(err, &network) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, errOverdue) || errors.Is(err, os.ErrDeadlineExceeded) ||
		strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "conn busy") // pgx has no values for these
}

// isTemporaryState reports whether an SQLSTATE (PostgreSQL manual, appendix A) is about the
// state of the server, and not about the statement or the configuration.
func isTemporaryState(code string) bool {
	switch code {
	case "25006", // read-only: it has become a standby, or an operator has set it
		"25P03",          // idle in a transaction for too long: this process was paused
		"40001", "40P01", // other transactions were in the way, repeatedly
		"55P03": // a lock was not free in time
		return true
	}
	switch code[:min(2, len(code))] {
	case "08", // connection
		"53", // out of memory, disk or connections
		"57", // shut down, crashed, starting, cancelled
		"58": // operating system
		return true
	}
	return false
}

// isCollision reports that a transaction was rolled back because of another, and may be
// tried again.
func isCollision(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && (server.Code == "40001" || server.Code == "40P01")
}

// IsRejected reports that a statement failed because of a value that the database cannot
// store: PostgreSQL has no text with the character U+0000, or with invalid UTF-8.
func IsRejected(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && (server.Code == "22021" || server.Code == "22P05")
}

// IsFault reports whether the cause of an error is the database, and not the request or
// the client that no longer waits.
func IsFault(err error) bool {
	var file sqlite3.Error
	var server *pgconn.PgError
	switch {
	case errors.Is(err, ErrAway):
		return true
	case errors.As(err, &file):
		return file.Code != sqlite3.ErrConstraint
	case errors.As(err, &server):
		return server.Code[:min(2, len(server.Code))] != "22" && server.Code[:min(2, len(server.Code))] != "23"
	}
	return false
}

// FromServer reports whether an error is from a PostgreSQL server or the connection to it,
// and not from a file.
func FromServer(err error) bool { return !errors.As(err, new(sqlite3.Error)) }

// errOverdue reports that the database did not answer in time.
var errOverdue = errors.New("the database did not answer in time")

// overdue tells an operation that took too long from one whose caller no longer waits.
func overdue(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", errOverdue, err)
}
