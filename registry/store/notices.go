package store

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"poked/events"
	"poked/events/wait"
	"poked/registry/database"
)

// Registries that share a database tell each other through it what makes their memory
// outdated. Each reads the new notices several times a second. One that cannot, since the
// database is away or the process stood still, does not use what it remembers meanwhile: a
// message could get lost on another way, and the memory would be believed for longer.

const (
	noticesEvery = 250 * time.Millisecond
	// noticesFresh is how old what was read last may be for the memory to be used.
	noticesFresh = time.Second
	noticesPage  = 1000
	// noticesKept is longer than any cache or request lasts.
	noticesKept = time.Hour
	// maxUnsent bounds the notices that wait until the database can be written.
	maxUnsent = 10_000
)

// NoticeKind is what a notice is about.
type NoticeKind string

const (
	// NoticeLogout is about a device, or with "" all devices of a user: tokens and answers
	// from before it are outdated.
	NoticeLogout NoticeKind = "logout"
	// NoticeMissed means that clients may have gone past poked to the homeserver.
	NoticeMissed NoticeKind = "missed"
	// NoticeRefetch means that a user's account data at the homeserver has changed.
	NoticeRefetch NoticeKind = "refetch"
)

// Notice is a row of notices.
type Notice struct {
	Number   int64         `db:"number"`
	Kind     NoticeKind    `db:"kind"`
	UserID   events.UserID `db:"user_id"`
	DeviceID string        `db:"device_id"`
	Origin   string        `db:"origin"`
}

const noticeColumns = "number, kind, user_id, device_id, origin"

// Note adds a notice.
func (s *Store) Note(ctx context.Context, n Notice) error {
	return s.commit(ctx, func(tx *database.Tx) error { return s.addNotice(ctx, tx, n) })
}

// addNotice adds a notice in a transaction, as the last of its statements: until the end of
// the transaction no other can add one. So numbers have the order of commits, and a reader
// misses none. It does nothing if nobody shares the database.
func (s *Store) addNotice(ctx context.Context, tx *database.Tx, n Notice) error {
	if !s.db.Shared() {
		return nil
	}
	if err := tx.Lock(ctx, "notices"); err != nil {
		return err
	}
	now := time.Now()
	_, err := tx.ExecContext(ctx, `INSERT INTO notices (number, kind, user_id, device_id, noted_at, origin)
		SELECT coalesce(max(number), 0) + 1, ?, ?, ?, ?, ? FROM notices`, n.Kind, n.UserID, n.DeviceID, now.Unix(), s.db.Origin())
	if err != nil {
		return fmt.Errorf("write notice: %w", err)
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM notices WHERE noted_at < ? AND number < (SELECT max(number) FROM notices)", now.Add(-noticesKept).Unix())
	if err != nil {
		return fmt.Errorf("delete old notices: %w", err)
	}
	return nil
}

// departedSince reports whether a device, or the user as a whole, was logged out after a
// notice, or whether that is no longer known.
func departedSince(ctx context.Context, tx *database.Tx, c *Claim) (departed bool, err error) {
	err = tx.GetContext(ctx, &departed, `SELECT EXISTS (SELECT * FROM notices
			WHERE user_id = ? AND number > ? AND kind = ? AND (device_id = ? OR device_id = ''))
		OR ? < coalesce((SELECT min(number) - 1 FROM notices), 0)`,
		c.UserID, c.Noted, NoticeLogout, c.DeviceID, c.Noted)
	if err != nil {
		return false, fmt.Errorf("look for logout: %w", err)
	}
	return departed, nil
}

// Notices reads what other registries have learnt.
type Notices struct {
	store *Store
	log   *slog.Logger
	apply func(Notice)
	reset func()

	woken chan struct{}

	reading sync.Mutex // held while notices are read

	mu     sync.Mutex // guards what follows
	seen   int64      // number of the newest notice that was applied
	epoch  string     // of the database when it was read
	synced time.Time  // when the last successful read began
	unsent []Notice   // oldest first
}

// NewNotices returns notices that call apply with each of another registry, and reset when
// changes may be missing in the database that were there before.
func NewNotices(store *Store, apply func(Notice), reset func(), log *slog.Logger) *Notices {
	return &Notices{store: store, log: log, apply: apply, reset: reset, woken: make(chan struct{}, 1)}
}

// shared reports whether there may be other registries.
func (n *Notices) shared() bool { return n != nil && n.store.db.Shared() }

// Add tells the other registries something, as soon as the database can be written, and
// never waits. The caller has heeded it here.
func (n *Notices) Add(what Notice) {
	if !n.shared() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.unsent) < maxUnsent {
		n.unsent = append(n.unsent, what)
	}
	wait.Wake(n.woken)
}

// Latest returns the number of the newest notice. It serves as the time of an
// authentication: what was noted before was over by then.
func (n *Notices) Latest(ctx context.Context) (number int64, err error) {
	if !n.shared() {
		return 0, nil
	}
	if err := n.store.db.Get(ctx, &number, "SELECT coalesce(max(number), 0) FROM notices"); err != nil {
		return 0, fmt.Errorf("read newest notice: %w", err)
	}
	return number, nil
}

// Heeded reports whether all notices are heeded that are older than a moment, and reads them
// if they are not. Without it nothing that is remembered may be used.
func (n *Notices) Heeded(ctx context.Context) bool {
	if !n.shared() || n.fresh() {
		return true
	}
	n.reading.Lock()
	defer n.reading.Unlock()
	return n.fresh() || n.read(ctx) == nil
}

// fresh reports whether notices were read a moment ago. It goes by both clocks, since the
// monotonic one may stand still with the machine.
func (n *Notices) fresh() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	return now.Sub(n.synced) < noticesFresh && now.Round(0).Sub(n.synced.Round(0)).Abs() < noticesFresh
}

// Run reads and writes notices until ctx ends.
func (n *Notices) Run(ctx context.Context) error {
	if !n.shared() {
		<-ctx.Done()
		return nil
	}
	failing := false
	for ctx.Err() == nil {
		err := n.exchange(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			n.log.Warn("other registries' notices cannot be read, nothing that is remembered is used", "error", err)
		}
		failing = err != nil
		timer := time.NewTimer(noticesEvery)
		select {
		case <-ctx.Done():
		case <-n.woken:
			if failing {
				_ = wait.For(ctx, noticesEvery) // the loop checks ctx
			}
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// exchange writes the notices of this registry and reads those of all.
func (n *Notices) exchange(ctx context.Context) error {
	n.mu.Lock()
	unsent := n.unsent
	n.mu.Unlock()
	for _, what := range unsent {
		if err := n.store.Note(ctx, what); err != nil {
			return err
		}
		n.mu.Lock()
		n.unsent = n.unsent[1:]
		n.mu.Unlock()
	}
	n.reading.Lock()
	defer n.reading.Unlock()
	return n.read(ctx)
}

// read applies the notices that are new. The caller holds reading.
func (n *Notices) read(ctx context.Context) error {
	began := time.Now()
	for {
		n.mu.Lock()
		seen, before := n.seen, n.epoch
		n.mu.Unlock()
		list, epoch, err := n.after(ctx, seen, before)
		if err != nil {
			return err
		}
		for _, what := range list {
			if what.Origin != n.store.db.Origin() {
				n.apply(what)
			}
			seen = what.Number
		}
		if before != "" && epoch != before {
			n.reset()
		}
		n.mu.Lock()
		n.seen, n.epoch = seen, epoch
		if len(list) < noticesPage {
			n.synced = began
		}
		n.mu.Unlock()
		if len(list) < noticesPage {
			return nil
		}
	}
}

// after returns notices after a number. If the database has begun a new epoch, their numbers
// may have been given out again: it returns the newest alone, for all are to be heeded.
func (n *Notices) after(ctx context.Context, seen int64, before string) (list []Notice, epoch string, err error) {
	err = n.store.view(ctx, func(tx *database.Tx) error {
		if epoch, err = tx.Epoch(ctx); err != nil {
			return err
		}
		query, limit := "SELECT "+noticeColumns+" FROM notices WHERE number > ? ORDER BY number LIMIT ?", noticesPage
		if epoch != before {
			query, seen, limit = "SELECT "+noticeColumns+" FROM notices WHERE number > ? ORDER BY number DESC LIMIT ?", -1, 1
		}
		if err := tx.SelectContext(ctx, &list, query, seen, limit); err != nil {
			return fmt.Errorf("read notices: %w", err)
		}
		return nil
	})
	return list, epoch, err
}
