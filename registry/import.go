package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"poked/events"
	"poked/events/homeserver"
	"poked/events/pushgateway"
	"poked/registry/database"
	"poked/registry/problem"
)

// Import is a pusher from a homeserver's database.
type Import struct {
	UserID   events.UserID
	DeviceID string    // "" if unknown
	SetAt    time.Time // when it was set; zero if unknown
	// Body is a request body for pushers/set. It is validated like one.
	Body map[string]any
}

// ErrNotImported is wrapped by every error that concerns one pusher alone; the import can
// go on with the next. The message never contains the pushkey.
var ErrNotImported = errors.New("not taken")

// ErrThere reports that the pusher already exists here, as its client set it.
var ErrThere = fmt.Errorf("%w: it is there already", ErrNotImported)

// Importer writes pushers into the database of a registry that is stopped. The registry
// publishes them to NATS at its next start, or once it has fetched their users' push rules
// if it runs with a registration.
type Importer struct {
	store  *store
	policy *pushgateway.Policy
	dry    *database.Tx // of a dry run, never committed
	temp   string       // directory of a dry run without a database
}

// exclusive are the options of a program that needs the database for itself.
func exclusive(options database.Options) database.Options {
	options.Exclusive = true
	return options
}

// OpenImporter opens the database, creating a missing file. It fails while a registry
// uses it. A dry run changes nothing; it checks each pusher as if the ones before it
// had been imported.
func OpenImporter(ctx context.Context, address string, options database.Options, policy *pushgateway.Policy, dryRun bool) (_ *Importer, err error) {
	i := &Importer{policy: policy}
	if _, missing := os.Stat(address); dryRun && !database.IsServer(address) && errors.Is(missing, os.ErrNotExist) {
		if i.temp, err = os.MkdirTemp("", "poked-import-"); err != nil {
			return nil, fmt.Errorf("make directory: %w", err)
		}
		address = filepath.Join(i.temp, "poked.db")
	}
	if i.store, err = openStore(ctx, address, exclusive(options), maxMaxPushers); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	if dryRun {
		if i.dry, err = i.store.db.BeginBulk(ctx); err != nil {
			return nil, errors.Join(err, i.Close())
		}
	}
	return i, nil
}

// Add imports one pusher. An error that wraps [ErrNotImported] concerns this pusher
// alone; any other error ends the import.
func (i *Importer) Add(ctx context.Context, p Import) error {
	row, err := i.read(p)
	if err != nil {
		return err
	}
	if i.dry != nil {
		return i.add(ctx, i.dry, row)
	}
	return i.store.update(ctx, of(row.UserID), func(tx *database.Tx) error { return i.add(ctx, tx, row) })
}

// read validates a pusher by the rules of pushers/set.
func (i *Importer) read(p Import) (pusherRow, error) {
	if !p.UserID.Valid() || len(p.DeviceID) > events.MaxIDBytes {
		return pusherRow{}, fmt.Errorf("%w: its user is no user id such as @alice:example.org, or its device id is too long", ErrNotImported)
	}
	body, err := json.Marshal(p.Body)
	if err != nil {
		return pusherRow{}, fmt.Errorf("%w: it cannot be written as JSON", ErrNotImported)
	}
	request, err := parseSet(body, false, false, i.policy)
	var judged *problem.Error
	if errors.As(err, &judged) {
		return pusherRow{}, fmt.Errorf("%w: %s", ErrNotImported, judged.Message)
	}
	if err != nil {
		return pusherRow{}, err
	}
	if request.remove {
		return pusherRow{}, fmt.Errorf("%w: it has no kind", ErrNotImported)
	}
	request.pusher.DeviceID = p.DeviceID
	if request.pusher.PushkeyTS = time.Now().Unix(); !p.SetAt.IsZero() {
		request.pusher.PushkeyTS = p.SetAt.Unix()
	}
	return newPusherRow(p.UserID, request.pusher), nil
}

// add writes a pusher unless a client has already set it here: that one is newer.
func (i *Importer) add(ctx context.Context, tx *database.Tx, row pusherRow) error {
	var there bool
	err := tx.GetContext(ctx, &there, "SELECT count(*) > 0 FROM pushers WHERE user_id = ? AND app_id = ? AND pushkey = ?",
		row.UserID, row.AppID, row.Pushkey)
	if err != nil {
		return fmt.Errorf("look for pusher: %w", err)
	}
	if there {
		return ErrThere
	}
	var have int
	if err := tx.GetContext(ctx, &have, "SELECT count(*) FROM pushers WHERE user_id = ?", row.UserID); err != nil {
		return fmt.Errorf("count pushers: %w", err)
	}
	if have >= i.store.maxPushers {
		return fmt.Errorf("%w: its user has %d pushers, the most there may be", ErrNotImported, have)
	}
	if err := hold(ctx, tx, row.UserID); err != nil {
		return err
	}
	return upsertPusher(ctx, tx, &row)
}

// hold gives a user no version, so that nothing is published before the user's rules are
// known; see [store.Held]. A user who has a version has rules.
func hold(ctx context.Context, tx *database.Tx, user events.UserID) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO users (user_id, version) VALUES (?, 0) ON CONFLICT DO NOTHING", user)
	if err != nil {
		return fmt.Errorf("write user: %w", err)
	}
	var published bool
	if err := tx.GetContext(ctx, &published, "SELECT version > 0 FROM users WHERE user_id = ?", user); err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	if !published {
		return nil
	}
	return touch(ctx, tx, user)
}

// FetchRules fetches the push rules and ignored users of the imported users from the
// homeserver, so that their first poke follows them. It returns how many users it did that
// for. A registry that runs with the registration does it at its start for those left.
func (i *Importer) FetchRules(ctx context.Context, client *homeserver.Client, reg *homeserver.Registration, log *slog.Logger, progress func(done, total int)) (n int, err error) {
	if i.dry != nil {
		return 0, nil
	}
	service := client.Service(reg.ASToken)
	up, err := newUpstream(client, nil, i.store, i.policy, log)
	if err != nil {
		return 0, err
	}
	held, err := i.store.Held(ctx)
	if err != nil {
		return 0, err
	}
	for _, user := range held {
		progress(n, len(held))
		if reg.IsLocal(user) {
			err = up.takeAccount(ctx, service.Account(user))
		}
		if err != nil && !errors.Is(err, homeserver.ErrRefused) {
			return n, err
		}
		if err := i.store.Release(ctx, user); err != nil {
			return n, err
		}
		n++
	}
	progress(n, len(held))
	return n, nil
}

// Close closes the database.
func (i *Importer) Close() error {
	var errs []error
	if i.dry != nil {
		errs = append(errs, i.dry.Rollback())
	}
	if i.store != nil {
		errs = append(errs, i.store.Close())
	}
	if i.temp != "" {
		errs = append(errs, os.RemoveAll(i.temp))
	}
	return errors.Join(errs...)
}
