package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"poked/events"
)

// What a homeserver that knows nothing of poked cannot say, NATS knows: whether a
// room's state is there, and how far a room's events were stored.

// typeCreate is the type of the event that every room begins with. It is stored
// last of a room's state from before: a room whose m.room.create is there is known.
const typeCreate = "m.room.create"

// KnowsRoom says whether the room's state is in NATS: it was published from the
// room's beginning, or seeded ([Conn.SeedRoom]).
func (c *Conn) KnowsRoom(ctx context.Context, room events.RoomID) (bool, error) {
	create := "." + events.Token(typeCreate) + "." + events.NoToken
	known, err := c.newestOn(ctx, streamRoomState, "state."+events.Token(room)+create)
	if err != nil || known != nil {
		return known != nil, err
	}
	// ROOM_STATE is filled a moment after ROOMS.
	known, err = c.newestOn(ctx, StreamRooms, c.roomSubject(room)+".state"+create)
	return known != nil, err
}

// NewestLike returns the id of the event that ROOMS holds last on the subject of
// ev: for a state event the newest of its type and state key, else the newest
// event of the room that is no state. It is "" if there is none, or if it was
// seeded, which does not say that what was before it is there as well.
func (c *Conn) NewestLike(ctx context.Context, ev *events.RoomEvent) (events.EventID, error) {
	msg, err := c.newestOn(ctx, StreamRooms, c.storedSubject(ev))
	if err != nil || msg == nil {
		return "", err
	}
	return events.EventID(msg.Header.Get(jetstream.MsgIDHeader)), nil
}

// roomSubject is where ROOMS holds what is published under room.<room>.
func (c *Conn) roomSubject(room events.RoomID) string {
	token := events.Token(room)
	return "rooms." + c.partOf(token) + "." + token
}

func (c *Conn) storedSubject(ev *events.RoomEvent) string {
	return c.roomSubject(ev.RoomID) + ev.Subject()[len("room.")+len(events.Token(ev.RoomID)):]
}

// newestOn returns the last message on a subject, or nil.
func (c *Conn) newestOn(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = ErrNoStreams
	}
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", stream, err)
	}
	msg, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	return msg, nil
}

// seedsInFlight is how many events of a room's state may be on their way at once.
const seedsInFlight = 256

// Seed publishes a room's state from before poked saw the room. Every event
// changes state and notifies nobody. It is used by one goroutine.
//
// It never undoes what is newer. Begin it before the homeserver is asked: whatever
// is published of the room from then on stays, for each event is stored only if the
// one that it replaces is still the one that stood there at the beginning. The same
// condition makes a repetition harmless.
type Seed struct {
	conn   *Conn
	room   events.RoomID
	stood  map[string]uint64 // last sequence on each subject at the beginning
	create []byte            // kept for the end
	slots  *semaphore.Weighted
	failed chan error // holds the first failure
	count  int
}

// SeedRoom begins to seed a room.
func (c *Conn) SeedRoom(ctx context.Context, room events.RoomID) (*Seed, error) {
	last, _, err := c.readLast(ctx, StreamRooms, c.roomSubject(room)+".state.>")
	if err != nil {
		return nil, err
	}
	s := &Seed{
		conn: c, room: room, stood: map[string]uint64{},
		slots: semaphore.NewWeighted(seedsInFlight), failed: make(chan error, 1),
	}
	for _, msg := range last {
		s.stood[msg.Subject] = msg.Sequence
	}
	return s, nil
}

// Add publishes one event of the state. An error that wraps [ErrBadEvent] says
// that it can never be used, and the others can go on; any other one may be of an
// earlier event.
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

// Finish waits until all is stored, stores m.room.create after it, and returns how
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

// wait returns when nothing is on its way.
func (s *Seed) wait(ctx context.Context) error {
	if err := s.slots.Acquire(ctx, seedsInFlight); err != nil {
		return fmt.Errorf("seed room: %w", err)
	}
	s.slots.Release(seedsInFlight)
	return s.failure()
}

// failure returns the first failure, which stays.
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
	batch := s.conn.NewBatch(func(_ uint64, err error) {
		if err != nil && !isWrongLast(err) {
			select {
			case s.failed <- err:
			default: // one is enough
			}
		}
		s.slots.Release(1)
	})
	batch.Add(ev.Subject(), nats.Header{
		HeaderHistorical:                    {"true"},
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(s.stood[s.conn.storedSubject(ev)], 10)},
	}, ev.Raw)
	batch.Send()
	return nil
}

// isWrongLast says that another message stands where the one to be replaced stood.
func isWrongLast(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return true
	}
	return false
}
