package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"os"
	"slices"
	"strconv"
	"strings"

	"poked/registry/database"
)

// Endpoint is a database to copy from or to.
type Endpoint struct {
	Address string
	Options database.Options
}

// Copied is how many rows of a table a copy has found.
type Copied struct {
	Table string `json:"table"`
	Rows  int    `json:"rows"`
}

// copiedTable is a table that a copy takes along. All have the same columns in both kinds of
// database.
type copiedTable struct {
	name    string
	columns []string
	key     string // that orders the rows, in both databases in the same way
	counted bool   // the database gives out the column id
}

// copiedTables returns all tables but notices, which are about running processes.
func copiedTables() []copiedTable {
	columns := func(list string) []string {
		return strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \t\n", r) })
	}
	return []copiedTable{
		{"users", columns("user_id, version, rules_version"), "user_id", false},
		{"pushers", columns("id, " + pusherColumns), "id", true},
		{"removed_pushers", columns("id, user_id, pusher_id, app_id, pushkey_ts, reason, removed_at"), "id", true},
		{"push_rules", columns("id, " + ruleColumns), "id", true},
		{"predefined_changes", columns("user_id, rule_id, enabled, actions"), "user_id, rule_id", false},
		{"account_data", columns("user_id, push_rules, ignored_users, do_not_disturb"), "user_id", false},
		{"account_changes", columns("user_id, kind, log, seq"), "user_id, kind", false},
		{"vapid", columns("id, private_key, made_at"), "id", false},
		{"outbox", columns("id, user_id, bucket"), "id", true}, // the origin was another process
	}
}

// copyPage is how many rows are written by one statement.
const copyPage = 500

// Copy copies a database to an empty one, of the same or the other kind, and checks that both
// hold the same. No registry may use either. The copy is one transaction: all or nothing. The
// source is brought to the newest schema, and otherwise not changed. progress is called with
// the number of rows that were copied or checked since the last call; each row counts twice.
//
// With dryRun it only counts, and fails if the copy could not begin.
func Copy(ctx context.Context, from, to Endpoint, dryRun bool, progress func(rows int)) ([]Copied, error) {
	if dryRun {
		return countRows(ctx, from, to)
	}
	if _, err := os.Stat(from.Address); !database.IsServer(from.Address) && err != nil { // or it would be created
		return nil, fmt.Errorf("open database: %w", err)
	}
	from.Options.Exclusive, to.Options.Exclusive = true, true
	source, err := database.Open(ctx, from.Address, from.Options)
	if err != nil {
		return nil, err
	}
	target, err := database.Open(ctx, to.Address, to.Options)
	if err != nil {
		return nil, errors.Join(err, source.Close())
	}
	c := copying{progress: progress, digests: map[string]hash.Hash{}}
	err = source.Bulk(ctx, func(in *database.Tx) error {
		return target.Bulk(ctx, func(out *database.Tx) error { return c.copy(ctx, in, out, to.Address) })
	})
	if err == nil {
		err = target.Bulk(ctx, func(tx *database.Tx) error { return c.check(ctx, tx) })
	}
	return c.done, errors.Join(err, source.Close(), target.Close())
}

// CountRows returns how many rows of a database a copy would copy.
func CountRows(ctx context.Context, from Endpoint) (list []Copied, err error) {
	db, err := database.OpenReader(ctx, from.Address, from.Options)
	if err != nil {
		return nil, err
	}
	for _, t := range copiedTables() {
		have := Copied{Table: t.name}
		if err := db.Get(ctx, &have.Rows, "SELECT count(*) FROM "+t.name); err != nil {
			return nil, errors.Join(fmt.Errorf("count rows of %s: %w", t.name, err), db.Close())
		}
		list = append(list, have)
	}
	return list, db.Close()
}

// countRows is a dry run.
func countRows(ctx context.Context, from, to Endpoint) ([]Copied, error) {
	list, err := CountRows(ctx, from)
	if err != nil {
		return nil, err
	}
	if _, missing := os.Stat(to.Address); !database.IsServer(to.Address) && missing != nil {
		return list, nil //nolint:nilerr // it will be created
	}
	target, err := database.OpenReader(ctx, to.Address, to.Options)
	if err != nil {
		return nil, err
	}
	var known bool
	if err := target.Get(ctx, &known, "SELECT EXISTS (SELECT * FROM users)"); err != nil {
		known = false // it has no tables yet
	}
	return list, errors.Join(notEmpty(to.Address, known), target.Close())
}

// copying is a copy in progress.
type copying struct {
	progress func(rows int)
	done     []Copied
	digests  map[string]hash.Hash // of the source's tables
}

func (c *copying) copy(ctx context.Context, in, out *database.Tx, to string) error {
	if known, err := knowsUsers(ctx, out); err != nil || known {
		return errors.Join(err, notEmpty(to, known))
	}
	// A registry that ran on the target has made a key, which no browser knows.
	if _, err := out.ExecContext(ctx, "DELETE FROM vapid"); err != nil {
		return fmt.Errorf("delete vapid key: %w", err)
	}
	for _, t := range copiedTables() {
		c.digests[t.name] = sha256.New()
		rows := 0
		var page []any
		write := func() error {
			defer func() { page = page[:0] }()
			return t.insert(ctx, out, page)
		}
		err := t.read(ctx, in, func(row []any) error {
			addRow(c.digests[t.name], row)
			page = append(page, t.typed(row)...)
			rows++
			c.progress(1)
			if len(page) < copyPage*len(t.columns) {
				return nil
			}
			return write()
		})
		if err == nil {
			err = write()
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", t.name, asRefused(err))
		}
		if err := t.countOn(ctx, out); err != nil {
			return err
		}
		c.done = append(c.done, Copied{Table: t.name, Rows: rows})
	}
	return nil
}

// check compares what the target holds with what was read from the source.
func (c *copying) check(ctx context.Context, tx *database.Tx) error {
	for i, t := range copiedTables() {
		digest, rows := sha256.New(), 0
		if err := t.read(ctx, tx, func(row []any) error {
			addRow(digest, row)
			rows++
			c.progress(1)
			return nil
		}); err != nil {
			return fmt.Errorf("check %s: %w", t.name, err)
		}
		if want := c.done[i].Rows; rows != want || !slices.Equal(digest.Sum(nil), c.digests[t.name].Sum(nil)) {
			return fmt.Errorf("check %s: the copy has %d rows, the source %d, and their contents differ: do not use the copy", t.name, rows, want)
		}
	}
	return nil
}

// read calls do with every row, in the order of the key.
func (t *copiedTable) read(ctx context.Context, tx *database.Tx, do func(row []any) error) (err error) {
	rows, err := tx.QueryxContext(ctx, "SELECT "+strings.Join(t.columns, ", ")+" FROM "+t.name+" ORDER BY "+t.key)
	if err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		row, err := rows.SliceScan()
		if err != nil {
			return fmt.Errorf("read row: %w", err)
		}
		if err := do(row); err != nil {
			return err
		}
	}
	return rows.Err()
}

// typed returns a row with the types of the columns: SQLite stores truth values as numbers.
func (t *copiedTable) typed(row []any) []any {
	for i, column := range t.columns {
		switch v := row[i].(type) {
		case int64:
			if column == "enabled" || column == "disabled" || column == "inactive" {
				row[i] = v != 0
			}
		case []byte:
			row[i] = string(v)
		}
	}
	return row
}

// insert writes the values of several rows.
func (t *copiedTable) insert(ctx context.Context, tx *database.Tx, values []any) error {
	if len(values) == 0 {
		return nil
	}
	one := "(?" + strings.Repeat(", ?", len(t.columns)-1) + ")"
	many := one + strings.Repeat(", "+one, len(values)/len(t.columns)-1)
	if _, err := tx.ExecContext(ctx, "INSERT INTO "+t.name+" ("+strings.Join(t.columns, ", ")+") VALUES "+many, values...); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}

// countOn makes the database give out ids after those that were copied.
func (t *copiedTable) countOn(ctx context.Context, tx *database.Tx) error {
	if !t.counted {
		return nil
	}
	if err := tx.CountOn(ctx, t.name); err != nil {
		return fmt.Errorf("count on in %s: %w", t.name, err)
	}
	return nil
}

// addRow adds a row to a digest, in a form that does not depend on the database.
func addRow(digest hash.Hash, row []any) {
	for _, v := range row {
		text := ""
		switch v := v.(type) {
		case nil:
			text = "-"
		case bool:
			text = "n0"
			if v {
				text = "n1"
			}
		case int64:
			text = "n" + strconv.FormatInt(v, 10)
		case []byte:
			text = "t" + string(v)
		case string:
			text = "t" + v
		default:
			text = fmt.Sprintf("?%T %v", v, v)
		}
		length := binary.BigEndian.AppendUint64(nil, uint64(len(text)))
		_, _ = digest.Write(append(length, text...)) // a hash never fails
	}
}
