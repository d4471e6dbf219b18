package roomstore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"poked/events"
	"poked/events/stream"
)

// seedsInFlight is how many events of a room's state may be in flight at once.
const seedsInFlight = 256

// Seed publishes a room's state from before poked saw the room. Every event changes state
// and notifies nobody. One goroutine uses it.
//
// It never replaces anything newer. Begin it before you ask the homeserver for the state:
// each event is stored only if its subject's last sequence is still the one from the
// beginning, so whatever is published meanwhile stays. The same condition makes a
// repetition harmless.
type Seed struct {
	store  *Store
	room   events.RoomID
	before map[string]uint64 // last sequence of each subject at the beginning
	create []byte            // m.room.create, published last
	slots  *semaphore.Weighted
	failed chan error // holds the first error
	count  int
}

// Seed begins to seed a room.
func (s *Store) Seed(ctx context.Context, room events.RoomID) (*Seed, error) {
	last, _, err := s.readLast(ctx, s.conn.Topology().RoomsOf(room), s.conn.Topology().RoomSubject(room)+".state.*.*")
	if err != nil {
		return nil, err
	}
	seed := &Seed{
		store: s, room: room, before: map[string]uint64{},
		slots: semaphore.NewWeighted(seedsInFlight), failed: make(chan error, 1),
	}
	for _, msg := range last {
		seed.before[msg.Subject] = msg.Sequence
	}
	return seed, nil
}

// Add publishes one event of the state. An error that wraps [events.ErrBadEvent] means
// that this event can never be used; go on with the others. Any other error may be about
// an earlier event.
func (s *Seed) Add(ctx context.Context, raw []byte) error {
	ev, err := events.ParseRoomEvent(raw)
	switch {
	case err != nil:
		return err
	case !ev.IsState || ev.RoomID != s.room:
		return fmt.Errorf("%w: it is no state of this room", events.ErrBadEvent)
	case ev.Type == typeCreate && ev.StateKey == "":
		s.create = raw
		return nil
	}
	return s.publish(ctx, &ev)
}

// Finish waits until everything is stored, then stores m.room.create, and returns how
// many events the room's state has. Only then is the room known.
func (s *Seed) Finish(ctx context.Context) (int, error) {
	if err := s.wait(ctx); err != nil {
		return 0, err
	}
	if s.create == nil {
		return 0, fmt.Errorf("%w: the room's state has no m.room.create", events.ErrBadEvent)
	}
	ev, err := events.ParseRoomEvent(s.create)
	if err != nil {
		return 0, err
	}
	if err := s.publish(ctx, &ev); err != nil {
		return 0, err
	}
	return s.count, s.wait(ctx)
}

// wait returns when no event is in flight.
func (s *Seed) wait(ctx context.Context) error {
	if err := s.slots.Acquire(ctx, seedsInFlight); err != nil {
		return fmt.Errorf("seed room: %w", err)
	}
	s.slots.Release(seedsInFlight)
	return s.failure()
}

// failure returns the first error, again and again.
func (s *Seed) failure() error {
	select {
	case err := <-s.failed:
		s.failed <- err
		return fmt.Errorf("seed room: %w", err)
	default:
		return nil
	}
}

func (s *Seed) publish(ctx context.Context, ev *events.RoomEvent) error {
	if err := s.slots.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("seed room: %w", err)
	}
	if err := s.failure(); err != nil {
		s.slots.Release(1)
		return err
	}
	s.count++
	batch := s.store.conn.NewBatch(func(err error) {
		if err != nil && !stream.IsWrongLast(err) {
			select {
			case s.failed <- err:
			default: // one is enough
			}
		}
		s.slots.Release(1)
	})
	batch.Add(s.store.conn.Topology().On(ev.Subject()), nats.Header{
		stream.HeaderHistorical:             {"true"},
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(s.before[s.store.conn.Topology().StoredSubject(ev)], 10)},
	}, ev.Raw)
	batch.Send()
	return nil
}

// ReplaceState publishes the redacted form of a state event, which notifies nobody, in place
// of the one at a sequence of ROOMS (0 if ROOMS has none on that subject any more). If a newer
// one was published, that stays, and nothing is written. done is called once, as that of
// [Conn.NewBatch].
func (s *Store) ReplaceState(subject string, raw []byte, seq uint64, done func(error)) {
	batch := s.conn.NewBatch(func(err error) {
		if stream.IsWrongLast(err) {
			err = nil
		}
		done(err)
	})
	batch.Add(s.conn.Topology().On(subject), nats.Header{
		stream.HeaderHistorical:             {"true"},
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(seq, 10)},
	}, raw)
	batch.Send()
}
