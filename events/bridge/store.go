package bridge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/tidwall/gjson"
	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/publish"
	"poked/events/wait"
)

const (
	// roomsAtOnce is how many rooms of a transaction are stored in parallel.
	roomsAtOnce = 16

	// patience is how long storing is retried before the homeserver gets an error. The
	// homeserver's own backoff grows to minutes.
	patience = 20 * time.Second
	tryFor   = 5 * time.Second        // timeout of one try, whose answer may be lost
	pause    = 250 * time.Millisecond // between two tries
)

// store returns nil once all of a transaction is stored. After an error a part of it may
// be stored, which is recognised when the transaction is repeated.
func (b *Bridge) store(ctx context.Context, t *transaction) error {
	var group errgroup.Group // one room that fails does not end the others
	group.SetLimit(roomsAtOnce)
	for _, batch := range t.rooms {
		group.Go(func() error { return b.storeRoom(ctx, batch) })
	}
	group.Go(func() error { return b.buryAll(ctx, t.bad) })
	b.counts.ignored.Add(uint64(t.ignored)) //nolint:gosec // a length
	return group.Wait()
}

// storeRoom stores a transaction's events and receipts of one room, in order.
func (b *Bridge) storeRoom(ctx context.Context, batch *batch) error {
	fresh, err := b.withoutRepeated(ctx, batch.events)
	if err != nil {
		return err
	}
	if len(fresh) > 0 {
		if err := b.seeder.ensure(ctx, batch.room, fresh); err != nil {
			return err
		}
	}
	for i := range fresh {
		if err := b.announceJoin(ctx, &fresh[i]); err != nil {
			return err
		}
		if err := b.storeEvent(ctx, &fresh[i], batch.trace, batch.emptied[fresh[i].EventID]); err != nil {
			return err
		}
	}
	for _, raw := range batch.receipts {
		if err := b.storeReceipt(ctx, raw); err != nil {
			return err
		}
	}
	return nil
}

// announceJoin publishes that the push rules of a local user may have changed, if this
// event joins the user to a room that replaces another: homeservers copy the rules of the
// old room, such as a mute, to the new one.
func (b *Bridge) announceJoin(ctx context.Context, ev *events.RoomEvent) error {
	user := events.UserID(ev.StateKey)
	if !isJoin(ev) || !b.registration.IsLocal(user) {
		return nil
	}
	replaces, known := b.replaces.Get(ev.RoomID)
	if !known {
		err := persist(ctx, func(ctx context.Context) error {
			old, stored, err := b.seeder.rooms.Predecessor(ctx, ev.RoomID)
			replaces, known = old != "", stored
			return err
		})
		if err != nil {
			return err
		}
		if known {
			b.replaces.Add(ev.RoomID, replaces)
		}
	}
	if !replaces {
		return nil
	}
	return persist(ctx, func(ctx context.Context) error { return b.publisher.Refetch(ctx, user) })
}

// isJoin reports whether an event joins a user to a room, and does not only change the
// user's profile there.
func isJoin(ev *events.RoomEvent) bool {
	return ev.Type == "m.room.member" && ev.IsState && gjson.GetBytes(ev.Content, "membership").Str == "join" &&
		gjson.GetBytes(ev.Raw, "unsigned.prev_content.membership").Str != "join"
}

func (b *Bridge) storeEvent(ctx context.Context, ev *events.RoomEvent, trace string, emptied bool) error {
	options := []publish.Option{publish.Traced(trace)}
	age, known := ev.AgeAt(time.Now())
	late := known && age > b.cfg.Late
	if late || emptied {
		options = append(options, publish.Historical())
	}
	if known && age > staleAfter && ev.IsState && b.seeder.hasLost(ctx, ev) {
		options = append(options, publish.Superseded())
	}
	err := persist(ctx, func(ctx context.Context) error { return b.publisher.Event(ctx, ev.Raw, options...) })
	if err != nil {
		return err
	}
	b.stored.Add(string(ev.EventID), struct{}{})
	if emptied {
		return nil // already counted as bad
	}
	b.counts.events.Add(1)
	if late {
		b.counts.late.Add(1)
	}
	return nil
}

func (b *Bridge) storeReceipt(ctx context.Context, raw []byte) error {
	err := persist(ctx, func(ctx context.Context) error { return b.publisher.Receipt(ctx, raw) })
	if errors.Is(err, events.ErrBadEvent) {
		return b.bury(ctx, badItem{raw, nil, err})
	}
	if err == nil {
		b.counts.receipts.Add(1)
	}
	return err
}

func (b *Bridge) buryAll(ctx context.Context, bad []badItem) error {
	for _, item := range bad {
		if err := b.bury(ctx, item); err != nil {
			return err
		}
	}
	return nil
}

// bury stores an item that can never be published as a dead letter, once.
func (b *Bridge) bury(ctx context.Context, item badItem) error {
	digest := sha256.Sum256(item.raw)
	key := string(digest[:]) // no event id has its length
	if b.stored.Contains(key) {
		return nil
	}
	letter := events.DeadLetter{
		Reason: events.DeadBadEvent, Detail: "from the homeserver: " + item.err.Error(), At: time.Now(), Message: item.raw,
	}
	if item.ev != nil {
		letter.RoomID, letter.EventID = item.ev.RoomID, item.ev.EventID
	} else {
		letter.Reason = events.DeadBadReceipt
	}
	err := persist(ctx, func(ctx context.Context) error {
		kept := make(chan error, 1)
		b.conn.PublishDead(letter, func(err error) { kept <- err })
		select {
		case err := <-kept:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		return err
	}
	b.stored.Add(key, struct{}{})
	b.counts.bad.Add(1)
	b.log.Warn("unreadable event of the homeserver skipped", "error", item.err, "bytes", len(item.raw))
	return nil
}

// persist retries until it succeeds, fails with [events.ErrBadEvent], or patience ends.
func persist(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	err := wait.Until(ctx, pause, nil, func() error {
		if last = once(ctx, try); errors.Is(last, events.ErrBadEvent) {
			return backoff.Permanent(last)
		}
		return last
	})
	if err == nil || errors.Is(err, events.ErrBadEvent) {
		return err
	}
	return fmt.Errorf("store: %w", last)
}

func once(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	return try(ctx)
}
