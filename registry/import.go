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
	"poked/registry/request"
	"poked/registry/store"
)

// Import is a pusher from a homeserver's database.
type Import struct {
	UserID   events.UserID
	DeviceID string    // "" if unknown
	SetAt    time.Time // when it was set; zero if unknown
	// Body is a request body for pushers/set. It is validated like one.
	Body map[string]any
}

// Importer writes pushers into the database of a registry that is stopped. The registry
// publishes them to NATS at its next start, or once it has fetched their users' push rules
// if it runs with a registration.
type Importer struct {
	db     *database.DB
	store  *store.Store
	policy *pushgateway.Policy
	dry    *database.Tx // of a dry run, never committed
	temp   string       // directory of a dry run without a database
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
	options.Exclusive = true
	if i.db, err = database.Open(ctx, address, options); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	i.store = store.New(i.db, store.Options{MaxPushers: maxMaxPushers})
	if dryRun {
		if i.dry, err = i.db.BeginBulk(ctx); err != nil {
			return nil, errors.Join(err, i.Close())
		}
	}
	return i, nil
}

// Add imports one pusher. An error that wraps [ErrNotImported] concerns this pusher
// alone; any other error ends the import.
func (i *Importer) Add(ctx context.Context, p Import) error {
	pusher, err := i.read(p)
	if err != nil {
		return err
	}
	return i.store.Import(ctx, i.dry, p.UserID, pusher)
}

// read validates a pusher by the rules of pushers/set.
func (i *Importer) read(p Import) (events.Pusher, error) {
	if !p.UserID.Valid() || len(p.DeviceID) > events.MaxIDBytes {
		return events.Pusher{}, fmt.Errorf("%w: its user is no user id such as @alice:example.org, or its device id is too long", store.ErrNotImported)
	}
	body, err := json.Marshal(p.Body)
	if err != nil {
		return events.Pusher{}, fmt.Errorf("%w: it cannot be written as JSON", store.ErrNotImported)
	}
	set, err := request.ParseSet(body, false, false, i.policy)
	var judged *problem.Error
	if errors.As(err, &judged) {
		return events.Pusher{}, fmt.Errorf("%w: %s", store.ErrNotImported, judged.Message)
	}
	if err != nil {
		return events.Pusher{}, err
	}
	if set.Remove {
		return events.Pusher{}, fmt.Errorf("%w: it has no kind", store.ErrNotImported)
	}
	set.Pusher.DeviceID = p.DeviceID
	if set.Pusher.PushkeyTS = time.Now().Unix(); !p.SetAt.IsZero() {
		set.Pusher.PushkeyTS = p.SetAt.Unix()
	}
	return set.Pusher, nil
}

// FetchRules fetches the push rules and ignored users of the imported users from the
// homeserver, so that their first poke follows them. It returns how many users it did that
// for. A registry that runs with the registration does it at its start for those left.
func (i *Importer) FetchRules(ctx context.Context, client *homeserver.Client, reg *homeserver.Registration, log *slog.Logger, progress func(done, total int)) (n int, err error) {
	if i.dry != nil {
		return 0, nil
	}
	service := client.Service(reg.ASToken)
	up, err := newUpstream(client, nil, i.db, i.store, i.policy, log)
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
	if i.db != nil {
		errs = append(errs, i.db.Close())
	}
	if i.temp != "" {
		errs = append(errs, os.RemoveAll(i.temp))
	}
	return errors.Join(errs...)
}
