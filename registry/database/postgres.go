package database

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
)

const (
	// minVersion is the oldest major version of PostgreSQL that has every setting below.
	minVersion = 14

	connectTimeout   = 5 * time.Second
	operationTimeout = 10 * time.Second
	// transactionTimeout is how long a transaction may wait for its process. Others wait
	// that long for a process that is paused in one.
	transactionTimeout = 4 * time.Second
	// heldTimeout is how long a connection that holds a name may be idle. It is longer than
	// what a homeserver may take to answer a few requests.
	heldTimeout = 30 * time.Second
	// heldWait is how long to wait for a name that another holds.
	heldWait = 5 * time.Second

	connLifetime = 30 * time.Minute // so that connections follow a change of addresses
	connIdle     = 5 * time.Minute
)

// openServer opens the pools of a PostgreSQL database and brings it to the newest schema.
func (d *DB) openServer(ctx context.Context, address string, o Options) error {
	if err := d.openPool(ctx, address, o); err != nil {
		return err
	}
	cfg, err := parseServer(address)
	if err != nil {
		return err
	}
	cfg.RuntimeParams["idle_session_timeout"] = milliseconds(heldTimeout)
	cfg.RuntimeParams["lock_timeout"] = milliseconds(heldWait)
	d.held = newPool(cfg, o, maxHeld+maxLeads)
	d.held.SetConnMaxIdleTime(heldTimeout / 2)
	d.origin = rand.Text()
	if d.present, err = d.appear(ctx, o.Exclusive); err != nil {
		return err
	}
	held, release, err := d.Hold(ctx, "migrate") // goose creates its table before it takes a lock
	if err != nil {
		return err
	}
	defer release()
	return migrate(held, d.write.DB, goose.DialectPostgres, "postgres")
}

// openPool opens the pool for requests, and checks that the server can be used.
func (d *DB) openPool(ctx context.Context, address string, o Options) error {
	cfg, err := parseServer(address)
	if err != nil {
		return err
	}
	if o.PasswordFile != "" {
		if _, err := readPassword(o.PasswordFile); err != nil {
			return unsuitableError(err.Error()) // later it may be missing for a moment
		}
	}
	conns := o.Conns
	if conns == 0 {
		conns = DefaultConns
	}
	d.write = newPool(cfg, o, conns)
	d.read, d.timeout = d.write, operationTimeout
	err = d.write.PingContext(ctx)
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) || err != nil && strings.Contains(err.Error(), "server refused TLS connection") { // pgx has no value for this
		return unsuitableError(err.Error()) // later a certificate may be renewed
	}
	return err
}

// parseServer reads the URL of a database and adds the settings that poked needs, unless
// the URL has them. Each is a setting of the session: none needs a right.
func parseServer(address string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		if file := new(fs.PathError); errors.As(err, &file) {
			return nil, unsuitableError("its URL names a file that cannot be read: " + file.Error())
		}
		// The errors of pgx repeat the URL, in which it does not find every password.
		return nil, errors.New("it is no valid URL of a PostgreSQL database, such as postgres://poked@db.example.org/poked?sslmode=verify-full")
	}
	if query, err := url.Parse(address); err != nil || !query.Query().Has("connect_timeout") {
		cfg.ConnectTimeout = connectTimeout
	}
	if cfg.ValidateConnect == nil { // no host is chosen that accepts no writes
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	for name, value := range map[string]string{
		"application_name":                    "poked registry",
		"client_encoding":                     "UTF8",
		"default_transaction_isolation":       "read committed",
		"idle_in_transaction_session_timeout": milliseconds(transactionTimeout),
		// The server notices within seconds that a process or its machine is gone, and
		// releases its locks.
		"client_connection_check_interval": "2s",
		"tcp_keepalives_idle":              "5",
		"tcp_keepalives_interval":          "2",
		"tcp_keepalives_count":             "3",
	} {
		if _, set := cfg.RuntimeParams[name]; !set {
			cfg.RuntimeParams[name] = value
		}
	}
	return cfg, nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func newPool(cfg *pgx.ConnConfig, o Options, conns int) *sqlx.DB {
	options := []stdlib.OptionOpenDB{stdlib.OptionAfterConnect(checkServer)}
	if o.PasswordFile != "" {
		options = append(options, stdlib.OptionBeforeConnect(func(_ context.Context, cfg *pgx.ConnConfig) error {
			password, err := readPassword(o.PasswordFile)
			cfg.Password = password
			return err
		}))
	}
	pool := sqlx.NewDb(stdlib.OpenDB(*cfg, options...), "pgx")
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	pool.SetConnMaxLifetime(connLifetime)
	pool.SetConnMaxIdleTime(connIdle)
	return pool
}

// readPassword reads the first line of a file.
func readPassword(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	line, _, _ := strings.Cut(string(content), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("read password: the first line of %s is empty", path)
	}
	return line, nil
}

// checkServer refuses a server that poked cannot use, and makes commits durable where the
// server's default is that they are not.
func checkServer(ctx context.Context, conn *pgx.Conn) error {
	version := conn.PgConn().ParameterStatus("server_version")
	if n := leadingNumber(version); n < minVersion {
		return unsuitableError(fmt.Sprintf("the server is PostgreSQL %s, but poked needs version %d or newer", version, minVersion))
	}
	if encoding := conn.PgConn().ParameterStatus("server_encoding"); encoding != "UTF8" {
		return unsuitableError(fmt.Sprintf("the database has the encoding %s, but poked needs UTF8: create it with ENCODING 'UTF8' TEMPLATE template0", encoding))
	}
	_, err := conn.Exec(ctx, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
	if err != nil {
		return fmt.Errorf("configure session: %w", err)
	}
	return nil
}

// leadingNumber returns the number at the beginning of a text, such as 17 of "17beta1".
func leadingNumber(text string) int {
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(text)
	}
	n, _ := strconv.Atoi(text[:end]) // 0 without digits
	return n
}

// unsuitableError reports a configuration or a server that poked cannot use.
type unsuitableError string

func (e unsuitableError) Error() string { return string(e) }

// Redact returns an address without its password.
func Redact(address string) string {
	if !IsServer(address) {
		return address
	}
	u, err := url.Parse(address)
	if err != nil {
		return "postgres://…"
	}
	query := u.Query()
	for _, secret := range []string{"password", "sslpassword"} {
		if query.Has(secret) {
			query.Set(secret, "xxxxx")
		}
	}
	u.RawQuery = query.Encode()
	return u.Redacted()
}

// CountOn makes the database give out ids of a table that are above those in it, after rows
// were written with their ids. SQLite does that by itself.
func (t *Tx) CountOn(ctx context.Context, table string) error {
	if !t.server {
		return nil
	}
	_, err := t.ExecContext(ctx, "SELECT setval(pg_get_serial_sequence('"+table+"', 'id'), coalesce(max(id), 0) + 1, false) FROM "+table)
	return err
}

// Epoch identifies the server's history: it changes when a standby takes over, when the
// server restarts, or when it is restored from a backup. Changes that were committed
// before may then be missing. It is "" with SQLite.
func (t *Tx) Epoch(ctx context.Context) (epoch string, err error) {
	if !t.server {
		return "", nil
	}
	err = t.GetContext(ctx, &epoch, "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) || ' ' || pg_postmaster_start_time()")
	if err != nil {
		return "", fmt.Errorf("read timeline: %w", err)
	}
	return epoch, nil
}

// Check returns why a database with this address cannot be opened, as far as that can be told
// without opening it.
func Check(address string, o Options) error {
	if !IsServer(address) {
		return nil
	}
	if _, err := parseServer(address); err != nil {
		return fmt.Errorf("open database %s: %w", Redact(address), err)
	}
	if o.PasswordFile == "" {
		return nil
	}
	_, err := readPassword(o.PasswordFile)
	return err
}
