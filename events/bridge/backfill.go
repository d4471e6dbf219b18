package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"poked/events"
	"poked/events/homeserver"
	"poked/events/stream"
)

// Backfill configures a backfill: fetching the state of rooms before their next event.
type Backfill struct {
	Users []events.UserID // in addition to all users with pushers
	Rooms []events.RoomID // only these, and again; all if there are none
	Again bool            // include rooms whose state NATS already holds
	Rate  float64         // maximum rooms per second; 0 for no limit
	// Progress reports the progress, from one goroutine at a time: first in "users", whose
	// rooms are listed, then in "rooms".
	Progress func(what string, done, total int)
}

// Backfilled is the result of a backfill.
type Backfilled struct {
	Users   int `json:"users"`   // users whose rooms were listed
	Rooms   int `json:"rooms"`   // rooms that they are joined to
	Known   int `json:"known"`   // rooms whose state NATS already held
	Fetched int `json:"fetched"` // rooms whose state was fetched
	Refused int `json:"refused"` // rooms whose state the homeserver refuses to return
	Failed  int `json:"failed"`  // rooms whose state could not be fetched; another run tries again
}

// ErrNobodyJoined is wrapped by the error about a room of which no user's state can be asked.
var ErrNobodyJoined = errors.New("none of the users is joined to the room")

// backfill is one run of RunBackfill.
type backfill struct {
	Backfill
	seeder *seeder
	pace   *rate.Limiter
	log    *slog.Logger

	mu   sync.Mutex
	done int
	sum  Backfilled
}

// RunBackfill fetches the state of every room that a user is joined to. Fetched state is
// stored in NATS, so the next run continues where an interrupted one stopped. An error
// means that the run ended early.
func RunBackfill(ctx context.Context, b Backfill, hs *homeserver.Client, reg *homeserver.Registration, conn *stream.Conn, log *slog.Logger) (Backfilled, error) {
	seeder, err := newSeeder(hs.Service(reg.ASToken), reg, conn, log, new(counters))
	if err != nil {
		return Backfilled{}, err
	}
	run := &backfill{Backfill: b, seeder: seeder, pace: rate.NewLimiter(rate.Inf, 1), log: log}
	if b.Rate > 0 {
		run.pace.SetLimit(rate.Limit(b.Rate))
	}
	rooms, err := run.rooms(ctx)
	if err != nil {
		return run.sum, fmt.Errorf("ask for rooms: %w", err)
	}
	return run.sum, run.fetchAll(ctx, rooms)
}

// rooms returns every room with some of its members.
func (b *backfill) rooms(ctx context.Context) (map[events.RoomID][]events.UserID, error) {
	users, err := localUsers(ctx, b.seeder.conn, b.seeder.reg)
	if err != nil {
		return nil, err
	}
	users = append(users, b.Users...)
	slices.Sort(users)
	users = slices.Compact(users)
	rooms := map[events.RoomID][]events.UserID{}
	b.Progress("users", 0, len(users))
	err = eachJoined(ctx, b.seeder.service, users, residentsAtOnce, func(user events.UserID, joined []events.RoomID) {
		for _, room := range joined {
			if len(rooms[room]) < maxWitnesses {
				rooms[room] = append(rooms[room], user)
			}
		}
		b.sum.Users++
		b.Progress("users", b.sum.Users, len(users))
	})
	if len(b.Rooms) > 0 {
		maps.DeleteFunc(rooms, func(room events.RoomID, _ []events.UserID) bool { return !slices.Contains(b.Rooms, room) })
	}
	b.sum.Rooms = len(rooms)
	for _, room := range b.Rooms {
		if err == nil && rooms[room] == nil {
			err = fmt.Errorf("%w: %s", ErrNobodyJoined, room)
		}
	}
	return rooms, err
}

func (b *backfill) fetchAll(ctx context.Context, rooms map[events.RoomID][]events.UserID) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(seedsAtOnce)
	b.Progress("rooms", 0, len(rooms))
	for _, room := range slices.Sorted(maps.Keys(rooms)) {
		group.Go(func() error { return b.fetch(ctx, room, rooms[room]) })
	}
	return group.Wait()
}

// fetch fetches one room. It returns only errors that would affect other rooms as well.
func (b *backfill) fetch(ctx context.Context, room events.RoomID, witnesses []events.UserID) error {
	known, err := b.isKnown(ctx, room)
	if err != nil || known {
		return b.note(err, &b.sum.Known)
	}
	if err := b.pace.Wait(ctx); err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, seedTimeout)
	defer cancel()
	err = b.seeder.seedBy(ctx, room, witnesses, nil)
	switch {
	case errors.Is(err, homeserver.ErrRefused), errors.Is(err, events.ErrBadEvent):
		b.log.Warn("the homeserver refuses the state of a room", "room_id", string(room), "error", err)
		return b.note(nil, &b.sum.Refused)
	case errors.Is(err, homeserver.ErrCannotTell) && ctx.Err() == nil:
		b.log.Warn("the state of a room could not be fetched", "room_id", string(room), "error", err)
		return b.note(nil, &b.sum.Failed)
	}
	return b.note(err, &b.sum.Fetched)
}

func (b *backfill) isKnown(ctx context.Context, room events.RoomID) (known bool, err error) {
	if b.Again || len(b.Rooms) > 0 || ctx.Err() != nil {
		return false, ctx.Err()
	}
	err = persist(ctx, func(ctx context.Context) (err error) {
		known, err = b.seeder.rooms.Knows(ctx, room)
		return err
	})
	return known, err
}

// note counts a room that is done.
func (b *backfill) note(err error, count *int) error {
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	*count++
	b.done++
	b.Progress("rooms", b.done, b.sum.Rooms)
	return nil
}
