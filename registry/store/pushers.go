package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"poked/events"
	"poked/registry/database"
	"poked/registry/problem"
)

// pusherRow is a row of pushers.
type pusherRow struct {
	UserID            events.UserID `db:"user_id"`
	AppID             string        `db:"app_id"`
	Pushkey           string        `db:"pushkey"`
	Kind              string        `db:"kind"`
	InstanceHandle    string        `db:"instance_handle"`
	AppDisplayName    string        `db:"app_display_name"`
	DeviceDisplayName string        `db:"device_display_name"`
	Lang              string        `db:"lang"`
	Data              string        `db:"data"`
	DeviceID          string        `db:"device_id"`
	PushkeyTS         int64         `db:"pushkey_ts"`
	Disabled          bool          `db:"disabled"`
	activation
}

const pusherColumns = `user_id, app_id, pushkey, kind, instance_handle, app_display_name,
	device_display_name, lang, data, device_id, pushkey_ts, disabled,
	inactive, ack_digest, ack_expires, ack_due, ack_failure`

// pusherValues are those of pusherColumns in a statement with names.
const pusherValues = `:user_id, :app_id, :pushkey, :kind, :instance_handle, :app_display_name,
	:device_display_name, :lang, :data, :device_id, :pushkey_ts, :disabled,
	:inactive, :ack_digest, :ack_expires, :ack_due, :ack_failure`

func newPusherRow(user events.UserID, p events.Pusher) pusherRow {
	return pusherRow{
		UserID: user, AppID: p.AppID, Pushkey: p.Pushkey, Kind: p.Kind, InstanceHandle: p.InstanceHandle,
		AppDisplayName: p.AppDisplayName, DeviceDisplayName: p.DeviceDisplayName, Lang: p.Lang,
		Data: string(p.Data), DeviceID: p.DeviceID, PushkeyTS: p.PushkeyTS, Disabled: p.Disabled,
		activation: activation{Inactive: p.Inactive},
	}
}

func (r *pusherRow) pusher() events.Pusher {
	return events.Pusher{
		AppID: r.AppID, Pushkey: r.Pushkey, Kind: r.Kind, InstanceHandle: r.InstanceHandle,
		AppDisplayName: r.AppDisplayName, DeviceDisplayName: r.DeviceDisplayName, Lang: r.Lang,
		Data: json.RawMessage(r.Data), DeviceID: r.DeviceID, PushkeyTS: r.PushkeyTS, Disabled: r.Disabled,
		Inactive: r.Inactive,
	}
}

// Pushers returns the pushers of a user, oldest first, with their version. The version is
// 0 for a user who never had any.
func (s *Store) Pushers(ctx context.Context, user events.UserID) (set events.UserPushers, err error) {
	err = s.view(ctx, func(tx *database.Tx) error {
		set, err = pushersOf(ctx, tx, user)
		return err
	})
	return set, err
}

func pushersOf(ctx context.Context, tx *database.Tx, user events.UserID) (events.UserPushers, error) {
	set := events.UserPushers{UserID: user}
	err := tx.GetContext(ctx, &set.Version, "SELECT version FROM users WHERE user_id = ?", user)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return set, fmt.Errorf("read version: %w", err)
	}
	list, err := pushersOfAll(ctx, tx, []userVersion{{user, set.Version}})
	if err != nil {
		return set, err
	}
	return list[0], nil
}

// pushersOfAll reads the pushers of several users, who are in the order of their ids.
func pushersOfAll(ctx context.Context, tx *database.Tx, users []userVersion) ([]events.UserPushers, error) {
	var rows []pusherRow
	err := tx.SelectContext(ctx, &rows, "SELECT "+pusherColumns+" FROM pushers WHERE user_id BETWEEN ? AND ? ORDER BY user_id, id",
		users[0].UserID, users[len(users)-1].UserID)
	if err != nil {
		return nil, fmt.Errorf("read pushers: %w", err)
	}
	of := eachUser(rows, func(r *pusherRow) events.UserID { return r.UserID })
	list := make([]events.UserPushers, 0, len(users))
	for _, u := range users {
		set := events.UserPushers{UserID: u.UserID, Version: u.Version}
		own := of(u.UserID)
		for i := range own {
			set.Pushers = append(set.Pushers, own[i].pusher())
		}
		follow(&set)
		list = append(list, set)
	}
	return list, nil
}

// eachUser returns a function that returns the rows of a user. Rows and calls are in the
// order of user ids.
func eachUser[T any](rows []T, owner func(*T) events.UserID) func(events.UserID) []T {
	return func(user events.UserID) []T {
		for len(rows) > 0 && owner(&rows[0]) < user {
			rows = rows[1:]
		}
		n := 0
		for n < len(rows) && owner(&rows[n]) == user {
			n++
		}
		own := rows[:n]
		rows = rows[n:]
		return own
	}
}

// follow notes of each pusher which one of the same device and app stood before it: its client
// got a new pushkey, and what waits for the old one is for the same device. An app that has two
// at the same time loses nothing by it.
func follow(set *events.UserPushers) {
	type app struct{ device, id string }
	last := map[app]events.PusherID{}
	for i := range set.Pushers {
		p := &set.Pushers[i]
		if p.DeviceID == "" {
			continue
		}
		at := app{p.DeviceID, p.AppID}
		if p.Follows = last[at]; p.Inactive {
			continue // nothing waits for it
		}
		last[at] = events.NewPusherID(set.UserID, p.AppID, p.Pushkey)
	}
}

// SetPusher creates a pusher or replaces the one with the same identity. Unless
// keepOthers is set it removes, and returns, other users' pushers with the same app_id
// and pushkey. For a browser that has to acknowledge it, it returns the token to push. It fails
// with a [problem.Error] if the user has too many pushers.
func (s *Store) SetPusher(ctx context.Context, user events.UserID, p events.Pusher, keepOthers bool) (replaced []Removed, ask *Question, err error) {
	p.PushkeyTS = time.Now().Unix()
	names := of(user)
	if !keepOthers { // so that of two users who set it at the same time one keeps it
		names = append(names, "pushkey "+p.AppID+" "+p.Pushkey)
	}
	err = s.update(ctx, names, func(tx *database.Tx) error {
		if err := touch(ctx, tx, user); err != nil {
			return err
		}
		row := newPusherRow(user, p)
		token, err := askBrowser(ctx, tx, &row, time.Now())
		if err != nil {
			return err
		}
		if err := upsertPusher(ctx, tx, &row); err != nil {
			return err
		}
		if ask = nil; token != "" {
			ask = row.ask(token)
		}
		if err := s.checkCount(ctx, tx, user); err != nil || keepOthers {
			return err
		}
		replaced, err = remove(ctx, tx, "set by another user",
			"pushkey = ? AND app_id = ? AND user_id <> ?", p.Pushkey, p.AppID, user)
		return err
	})
	return replaced, ask, err
}

// findPusher reads a pusher. found is false if there is none.
func findPusher(ctx context.Context, tx *database.Tx, user events.UserID, appID, pushkey string) (row pusherRow, found bool, err error) {
	err = tx.GetContext(ctx, &row, "SELECT "+pusherColumns+" FROM pushers WHERE user_id = ? AND app_id = ? AND pushkey = ?", user, appID, pushkey)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return row, false, nil
	case err != nil:
		return row, false, fmt.Errorf("look for pusher: %w", err)
	}
	return row, true, nil
}

// TakeOver stores a pusher that the homeserver had. It does nothing if the same is here
// already; one of the same identity keeps its device. It fails with a [problem.Error] if the user
// has too many pushers.
func (s *Store) TakeOver(ctx context.Context, user events.UserID, p events.Pusher) error {
	p.PushkeyTS = time.Now().Unix()
	return s.update(ctx, of(user), func(tx *database.Tx) error {
		row := newPusherRow(user, p)
		have, found, err := findPusher(ctx, tx, user, row.AppID, row.Pushkey)
		if err != nil {
			return err
		}
		if found {
			row.DeviceID, row.PushkeyTS = cmp.Or(have.DeviceID, row.DeviceID), have.PushkeyTS
			if row == have {
				return nil
			}
		}
		if err := touch(ctx, tx, user); err != nil {
			return err
		}
		if err := upsertPusher(ctx, tx, &row); err != nil {
			return err
		}
		return s.checkCount(ctx, tx, user)
	})
}

// upsertPusher writes a pusher. Its pushkey_ts grows with every set, even within one
// second and after a removal, so that a rejection of the earlier pusher cannot remove the
// new one. It sets the row's.
func upsertPusher(ctx context.Context, tx *database.Tx, row *pusherRow) error {
	var last int64
	err := tx.GetContext(ctx, &last, `SELECT coalesce(max(pushkey_ts), 0) FROM (
			SELECT pushkey_ts FROM pushers WHERE user_id = ? AND app_id = ? AND pushkey = ?
			UNION ALL
			SELECT pushkey_ts FROM removed_pushers WHERE user_id = ? AND pusher_id = ?) AS earlier`,
		row.UserID, row.AppID, row.Pushkey, row.UserID, events.NewPusherID(row.UserID, row.AppID, row.Pushkey))
	if err != nil {
		return fmt.Errorf("read pushkey_ts: %w", err)
	}
	row.PushkeyTS = max(row.PushkeyTS, last+1)
	_, err = tx.NamedExecContext(ctx, `INSERT INTO pushers (`+pusherColumns+`)
		VALUES (`+pusherValues+`)
		ON CONFLICT (user_id, app_id, pushkey) DO UPDATE SET
			kind = excluded.kind, instance_handle = excluded.instance_handle,
			app_display_name = excluded.app_display_name, device_display_name = excluded.device_display_name,
			lang = excluded.lang, data = excluded.data, device_id = excluded.device_id,
			pushkey_ts = excluded.pushkey_ts, disabled = excluded.disabled, inactive = excluded.inactive,
			ack_digest = excluded.ack_digest, ack_expires = excluded.ack_expires,
			ack_due = excluded.ack_due, ack_failure = excluded.ack_failure`, row)
	if err != nil {
		return fmt.Errorf("write pusher: %w", err)
	}
	return nil
}

func (s *Store) checkCount(ctx context.Context, tx *database.Tx, user events.UserID) error {
	var count int
	if err := tx.GetContext(ctx, &count, "SELECT count(*) FROM pushers WHERE user_id = ?", user); err != nil {
		return fmt.Errorf("count pushers: %w", err)
	}
	if count > s.options.MaxPushers {
		// Not M_LIMIT_EXCEEDED: clients would retry, which cannot help.
		return problem.New(problem.InvalidParam, fmt.Sprintf("a user may have at most %d pushers: delete one first", s.options.MaxPushers))
	}
	return nil
}

// touch increments the version of a user's pushers and puts the user into the outbox. Every
// transaction that changes a user's pushers calls it.
func touch(ctx context.Context, tx *database.Tx, user events.UserID) error {
	return raise(ctx, tx, InPushers, Entry{User: user, AtLeast: 1, Grow: 1})
}
