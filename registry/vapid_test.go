package registry

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/webpush"
	"poked/registry/database"
	"poked/registry/store"
)

// The key is made once, published, and the same after a restart; a database that lost it gets it
// back from NATS, and one with another key says so.
func TestVAPIDKeyIsKept(t *testing.T) {
	eachDatabase(t, func(t *testing.T, setDatabase func(*Config)) {
		h := newHouse(t, setDatabase, withWebPush)
		key := h.reg.browsers.Key().Secret()
		stop := h.run()
		published := func(want string) func() bool {
			return func() bool {
				v, found, err := h.conn.VAPID(t.Context())
				return err == nil && found && v.PrivateKey == want && v.Subject == "mailto:push@matrix.org"
			}
		}
		eventstest.WaitFor(t, "the key to be published", published(key))
		restart := func(change string) string {
			stop()
			h.exec(change)
			h.close()
			h.open()
			stop = h.run()
			return h.reg.browsers.Key().Secret()
		}
		if got := restart("UPDATE vapid SET made_at = 1"); got != key {
			t.Error("another key after a restart")
		}
		if got := restart("DELETE FROM vapid"); got != key || !strings.Contains(h.log.String(), "it gets the one that nats has") {
			t.Error("the key of NATS was not taken")
		}
		other, err := webpush.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		if got := restart("UPDATE vapid SET private_key = '" + other.Secret() + "'"); got != other.Secret() {
			t.Error("the key of the database was not taken")
		}
		eventstest.WaitFor(t, "the key to be published", published(other.Secret()))
		if !strings.Contains(h.log.String(), "nats has another vapid key") {
			t.Error("the loss of a key is not announced")
		}
		// The bucket is lost as well.
		h.nats.DeleteStream("KV_VAPID")
		if err := h.nats.Dial().Setup(t.Context(), natstest.Topology()); err != nil {
			t.Fatal(err)
		}
		h.reg.browsers.PublishAgain() // as after a reconnect, and as Keep does
		eventstest.WaitFor(t, "the key to be published again", published(other.Secret()))
		stop()
		h.close()
		// A restored or copied database has it.
		address := filepath.Join(t.TempDir(), "restored.db")
		done, err := Restore(t.Context(), address, database.Options{}, h.conn, false, func() {})
		if err != nil || !done.VAPIDKey {
			t.Errorf("restore: %+v, %v", done, err)
		}
		for _, from := range []string{address, h.cfg.Database} {
			copied := filepath.Join(t.TempDir(), "copied.db")
			if _, err := store.Copy(t.Context(), store.Endpoint{Address: from}, store.Endpoint{Address: copied}, false, func(int) {}); err != nil {
				t.Fatal(err)
			}
			if got := secretIn(t, copied); got != other.Secret() {
				t.Error("a copy has another key")
			}
		}
		h.open() // the cleanup closes it
	})
}

func secretIn(t *testing.T, address string) (secret string) {
	t.Helper()
	db := openTestDatabase(t, address)
	secret, err := store.New(db, store.Options{}).VAPID(t.Context())
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return secret
}

// Registries that share a database make one key, however many start at the same time.
func TestSeveralRegistriesHaveOneVAPIDKey(t *testing.T) {
	t.Parallel()
	address := postgres.database(t)
	var stores []*store.Store
	for range 4 {
		stores = append(stores, openTestStore(t, address))
	}
	var group sync.WaitGroup
	kept := make([]string, len(stores))
	for i, s := range stores {
		group.Go(func() {
			key, err := webpush.NewKey()
			if err == nil {
				kept[i], err = s.KeepVAPID(t.Context(), key.Secret())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if kept[0] == "" || len(slices.Compact(kept)) != 1 {
		t.Errorf("%d registries have %d keys", len(stores), len(slices.Compact(kept)))
	}
}
