package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"poked/events"
	"poked/events/pushrule"
	"poked/registry/database"
)

// Logout removes the pushers of a device, or with an empty device all of the user's.
func (s *Store) Logout(ctx context.Context, user events.UserID, device string) ([]Removed, error) {
	return s.depart(ctx, user, device, "logout", "user_id = ? AND (? = '' OR device_id = ?)", user, device, device)
}

// depart removes pushers of a device, or with "" of several devices of the user, and tells
// other registries of it in the same transaction.
func (s *Store) depart(ctx context.Context, user events.UserID, device, reason, where string, args ...any) (list []Removed, err error) {
	err = s.update(ctx, of(user), func(tx *database.Tx) error {
		if list, err = remove(ctx, tx, reason, where, args...); err != nil {
			return err
		}
		return s.addNotice(ctx, tx, Notice{Kind: NoticeLogout, UserID: user, DeviceID: device})
	})
	return list, err
}

// LogoutOthers removes the pushers of all devices of a user except one.
func (s *Store) LogoutOthers(ctx context.Context, user events.UserID, device string) ([]Removed, error) {
	return s.depart(ctx, user, "", "password changed", "user_id = ? AND device_id <> ?", user, device)
}

// DeviceGone removes the pushers of a device that no longer exists. Pushers that were set
// after d.AsOf stay: a device that sets one exists.
func (s *Store) DeviceGone(ctx context.Context, d Device) ([]Removed, error) {
	return s.depart(ctx, d.UserID, d.DeviceID, "device is gone", "user_id = ? AND device_id = ? AND pushkey_ts <= ?", d.UserID, d.DeviceID, d.AsOf)
}

// Device is a device that has pushers.
type Device struct {
	UserID   events.UserID `db:"user_id"`
	DeviceID string        `db:"device_id"` // "" for pushers of no known device
	AsOf     int64         `db:"as_of"`     // pushkey_ts of the pusher set last
}

// DevicesAfter returns up to n devices that have pushers, ordered by user and device,
// starting after d.
func (s *Store) DevicesAfter(ctx context.Context, d Device, n int) (list []Device, err error) {
	err = s.db.Select(ctx, &list, `SELECT user_id, device_id, max(pushkey_ts) AS as_of FROM pushers
		WHERE (user_id, device_id) > (?, ?) GROUP BY user_id, device_id ORDER BY user_id, device_id LIMIT ?`,
		d.UserID, d.DeviceID, n)
	if err != nil {
		return nil, fmt.Errorf("read devices: %w", err)
	}
	return list, nil
}

// CountDevices returns how many devices have pushers.
func (s *Store) CountDevices(ctx context.Context) (n int, err error) {
	err = s.db.Get(ctx, &n, "SELECT count(*) FROM (SELECT DISTINCT user_id, device_id FROM pushers) AS devices")
	if err != nil {
		return 0, fmt.Errorf("count devices: %w", err)
	}
	return n, nil
}

// Held returns the users whose pushers were imported and not published yet.
func (s *Store) Held(ctx context.Context) (users []events.UserID, err error) {
	err = s.db.Select(ctx, &users, "SELECT user_id FROM users WHERE version = 0 AND user_id IN (SELECT user_id FROM pushers) ORDER BY user_id")
	if err != nil {
		return nil, fmt.Errorf("read imported users: %w", err)
	}
	return users, nil
}

// Release publishes the pushers of an imported user.
func (s *Store) Release(ctx context.Context, user events.UserID) error {
	return s.update(ctx, of(user), func(tx *database.Tx) error { return release(ctx, tx, user) })
}

// ReleaseAll publishes the pushers of all imported users.
func (s *Store) ReleaseAll(ctx context.Context) error {
	users, err := s.Held(ctx)
	if err != nil || len(users) == 0 {
		return err
	}
	return s.update(ctx, nil, func(tx *database.Tx) error { // their rows are locked in order
		for _, user := range users {
			if err := release(ctx, tx, user); err != nil {
				return err
			}
		}
		return nil
	})
}

// release gives a user's pushers their first version, unless they have one.
func release(ctx context.Context, tx *database.Tx, user events.UserID) error {
	return raise(ctx, tx, InPushers, Entry{User: user, AtLeast: 1})
}

// Deactivate removes all pushers, push rules and account data of a user.
func (s *Store) Deactivate(ctx context.Context, user events.UserID) (list []Removed, err error) {
	err = s.update(ctx, of(user), func(tx *database.Tx) error {
		if list, err = remove(ctx, tx, "account deactivated", "user_id = ?", user); err != nil {
			return err
		}
		for _, column := range []string{"push_rules", "ignored_users", "do_not_disturb"} {
			if _, err := comesInOrder(ctx, tx, user, column); err != nil {
				return err
			}
		}
		if err := forgetRules(ctx, tx, user); err != nil {
			return err
		}
		return s.addNotice(ctx, tx, Notice{Kind: NoticeLogout, UserID: user})
	})
	return list, err
}

func forgetRules(ctx context.Context, tx *database.Tx, user events.UserID) error {
	var gone int64
	for _, table := range []string{"push_rules", "predefined_changes", "account_data"} {
		result, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE user_id = ?", user)
		if err != nil {
			return fmt.Errorf("forget push rules: %w", err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return fmt.Errorf("forget push rules: %w", err)
		}
		gone += n
	}
	if gone == 0 {
		return nil
	}
	return touchRules(ctx, tx, user)
}

// SetPublished stores the ruleset that the homeserver published for a user. With nil the
// rules that the user's clients made here apply again.
func (s *Store) SetPublished(ctx context.Context, user events.UserID, rules *pushrule.Ruleset) error {
	if rules == nil {
		return s.setAccountData(ctx, user, "push_rules", sql.NullString{})
	}
	text, err := jsonText(rules)
	if err != nil {
		return err
	}
	return s.setAccountData(ctx, user, "push_rules", text)
}

// SetIgnored replaces the list of users whom the user ignores.
func (s *Store) SetIgnored(ctx context.Context, user events.UserID, ignored []events.UserID) error {
	if len(ignored) == 0 {
		return s.setAccountData(ctx, user, "ignored_users", sql.NullString{})
	}
	text, err := jsonText(ignored)
	if err != nil {
		return err
	}
	return s.setAccountData(ctx, user, "ignored_users", text)
}

// SetDoNotDisturb replaces where the user wants no pokes; nil is nowhere.
func (s *Store) SetDoNotDisturb(ctx context.Context, user events.UserID, quiet *events.DoNotDisturb) error {
	if quiet == nil {
		return s.setAccountData(ctx, user, "do_not_disturb", sql.NullString{})
	}
	text, err := jsonText(quiet)
	if err != nil {
		return err
	}
	return s.setAccountData(ctx, user, "do_not_disturb", text)
}

// ForgetDoNotDisturb forgets where users want no pokes. If that does not count, their phones
// would stay silent with no way to change it.
func (s *Store) ForgetDoNotDisturb(ctx context.Context) error {
	var users []events.UserID
	if err := s.db.Select(ctx, &users, "SELECT user_id FROM account_data WHERE do_not_disturb IS NOT NULL"); err != nil {
		return fmt.Errorf("read account data: %w", err)
	}
	for _, user := range users {
		if err := s.SetDoNotDisturb(ctx, user, nil); err != nil {
			return err
		}
	}
	return nil
}

// setAccountData writes a column of account_data.
func (s *Store) setAccountData(ctx context.Context, user events.UserID, column string, text sql.NullString) error {
	return s.update(ctx, of(user), func(tx *database.Tx) error {
		if newest, err := comesInOrder(ctx, tx, user, column); err != nil || !newest {
			return err
		}
		var old sql.NullString
		err := tx.GetContext(ctx, &old, "SELECT "+column+" FROM account_data WHERE user_id = ?", user)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("read account data: %w", err)
		}
		if text == old {
			return nil
		}
		if err := touchRules(ctx, tx, user); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO account_data (user_id, "+column+") VALUES (?, ?) "+
			"ON CONFLICT (user_id) DO UPDATE SET "+column+" = excluded."+column, user, text)
		if err != nil {
			return fmt.Errorf("write account data: %w", err)
		}
		return nil
	})
}
