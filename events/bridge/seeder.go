package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/tidwall/gjson"
	"golang.org/x/sync/semaphore"

	"poked/events"
	"poked/events/homeserver"
	"poked/events/roomstore"
	"poked/events/stream"
)

const (
	// seedsAtOnce is how many rooms' states are fetched in parallel.
	seedsAtOnce = 4
	// statePatience is how long a room's events wait for a state that the homeserver
	// fails to return. All other rooms wait with it.
	statePatience = 10 * time.Minute
	// askAgain is the pause before a state that could not be fetched is requested again,
	// unless a user joins the room.
	askAgain = time.Minute
	// seedTimeout bounds the time for one room's state, from the request to the last event.
	seedTimeout = 10 * time.Minute
)

// errNobody reports that no local user is known on whose behalf to request a room's
// state.
var errNobody = errors.New("no local user is known in the room")

// seeder publishes the state of a room before the room's first events.
type seeder struct {
	service *homeserver.Service

	registered *homeserver.Introduction // whether the homeserver knows the registration

	reg      *homeserver.Registration
	conn     *stream.Conn
	rooms    *roomstore.Store
	log      *slog.Logger
	counts   *counters
	slots    *semaphore.Weighted
	known    *lru.Cache[events.RoomID, struct{}]
	failing  *lru.Cache[events.RoomID, failing]
	resident *residents
}

// failing records since when a room's state cannot be fetched, and when to retry.
type failing struct{ since, again time.Time }

func newSeeder(service *homeserver.Service, reg *homeserver.Registration, conn *stream.Conn, log *slog.Logger, counts *counters) (*seeder, error) {
	known, err := lru.New[events.RoomID, struct{}](rememberedRooms)
	if err != nil {
		return nil, fmt.Errorf("remember rooms: %w", err)
	}
	failures, err := lru.New[events.RoomID, failing](rememberedRooms)
	if err != nil {
		return nil, fmt.Errorf("remember rooms: %w", err)
	}
	return &seeder{
		service: service, registered: homeserver.Introduce(service, log), reg: reg, conn: conn, rooms: roomstore.New(conn), log: log, counts: counts, slots: semaphore.NewWeighted(seedsAtOnce),
		known: known, failing: failures, resident: &residents{service: service, reg: reg, conn: conn},
	}, nil
}

// ensure returns nil once the events of a room may be published: its state is in NATS and
// nothing of it was missed, or it begins with these events, or it cannot be fetched.
func (s *seeder) ensure(ctx context.Context, room events.RoomID, coming []events.RoomEvent) error {
	known, err := s.isKnown(ctx, room, coming)
	was, failed := s.failing.Get(room)
	if err == nil && known && !failed {
		known, err = s.isCurrent(ctx, room, coming)
	}
	if err != nil || known && !failed {
		return err
	}
	witnesses, joins := s.witnesses(coming)
	if failed && !joins && time.Now().Before(was.again) {
		s.counts.withoutState.Add(1)
		return nil
	}
	return s.seeded(room, was, failed, s.seed(ctx, room, witnesses, coming))
}

// seeded records whether a room's state was fetched, and returns nil if its events may be
// published. was is since when it could not be fetched before, if it failed.
func (s *seeder) seeded(room events.RoomID, was failing, failed bool, err error) error {
	switch {
	case err == nil:
		s.known.Add(room, struct{}{})
		s.failing.Remove(room)
		return nil
	case errors.Is(err, errNobody), errors.Is(err, homeserver.ErrRefused), errors.Is(err, events.ErrBadEvent):
		s.passWithout(room, was.since, err)
		return nil
	case errors.Is(err, homeserver.ErrCannotTell) && failed && time.Since(was.since) > statePatience:
		s.passWithout(room, was.since, err)
		return nil
	case errors.Is(err, homeserver.ErrCannotTell) && !failed:
		s.failing.Add(room, failing{since: time.Now()})
	}
	return fmt.Errorf("seed room: %w", err)
}

// passWithout records that a room's events are published without its state.
func (s *seeder) passWithout(room events.RoomID, since time.Time, err error) {
	now := time.Now()
	if since.IsZero() {
		since = now
	}
	s.failing.Add(room, failing{since: since, again: now.Add(askAgain)})
	s.counts.withoutState.Add(1)
	s.log.Warn("the state of a room cannot be fetched, its events are stored without it", "room_id", string(room), "error", err)
}

func (s *seeder) isKnown(ctx context.Context, room events.RoomID, coming []events.RoomEvent) (known bool, err error) {
	if s.known.Contains(room) {
		return true, nil
	}
	known = slices.ContainsFunc(coming, isCreate) // then the room is new
	if !known {
		err = persist(ctx, func(ctx context.Context) (err error) {
			known, err = s.rooms.Knows(ctx, room)
			return err
		})
	}
	if known && err == nil {
		s.known.Add(room, struct{}{})
	}
	return known, err
}

// isCreate reports whether an event is the one that every room begins with.
func isCreate(ev events.RoomEvent) bool {
	return ev.Type == "m.room.create" && ev.IsState && ev.StateKey == ""
}

// seed fetches the state of a room on behalf of the first user who may see it, and
// publishes it without the events that follow anyway.
func (s *seeder) seed(ctx context.Context, room events.RoomID, witnesses []events.UserID, coming []events.RoomEvent) error {
	if err := s.slots.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait to fetch state: %w", err)
	}
	defer s.slots.Release(1)
	s.counts.seeding.Add(1)
	defer s.counts.seeding.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, seedTimeout)
	defer cancel()
	skip := map[events.EventID]bool{}
	for i := range coming {
		skip[coming[i].EventID] = true
	}
	err := s.seedBy(ctx, room, witnesses, skip)
	if !errors.Is(err, homeserver.ErrRefused) && !errors.Is(err, errNobody) {
		return err
	}
	if user, found := s.resident.of(ctx, room); found {
		return s.seedAs(ctx, room, user, skip)
	}
	return err
}

// seedBy seeds a room on behalf of the first of these users whom the homeserver does not
// refuse.
func (s *seeder) seedBy(ctx context.Context, room events.RoomID, witnesses []events.UserID, skip map[events.EventID]bool) error {
	err := errNobody
	for _, user := range witnesses {
		if err = s.seedAs(ctx, room, user, skip); !errors.Is(err, homeserver.ErrRefused) {
			return err
		}
	}
	return err
}

func (s *seeder) seedAs(ctx context.Context, room events.RoomID, user events.UserID, skip map[events.EventID]bool) error {
	seed, err := s.rooms.Seed(ctx, room)
	if err != nil {
		return err
	}
	for raw, err := range s.service.RoomState(ctx, room, user) {
		s.registered.Note(err)
		if err != nil {
			return err
		}
		raw = withRoom(raw, room)
		if skip[events.EventID(gjson.GetBytes(raw, "event_id").Str)] {
			continue
		}
		err := seed.Add(ctx, raw)
		if errors.Is(err, events.ErrBadEvent) {
			s.counts.badState.Add(1)
			s.log.Warn("unreadable state event skipped", "room_id", string(room), "error", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	n, err := seed.Finish(ctx)
	if err != nil {
		return err
	}
	s.counts.seeded.Add(1)
	s.log.Info("state of a room fetched", "room_id", string(room), "events", n)
	return nil
}

// withRoom adds the room id to an event if it is missing, as some homeservers omit it
// when the path contains it.
func withRoom(raw json.RawMessage, room events.RoomID) json.RawMessage {
	if gjson.GetBytes(raw, "room_id").Exists() || len(raw) < 2 || raw[0] != '{' {
		return raw
	}
	id, err := json.Marshal(room)
	if err != nil {
		return raw
	}
	rest := bytes.TrimLeft(raw[1:], " \t\r\n")
	if rest[0] != '}' {
		rest = append([]byte{','}, rest...)
	}
	return append(append([]byte(`{"room_id":`), id...), rest...)
}
