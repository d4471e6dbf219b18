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

// Backfill says which rooms' states are fetched before anything happens in them.
type Backfill struct {
	Users []events.UserID // beside all who have pushers
	Again bool            // also the rooms that NATS knows
	Rate  float64         // rooms a second, at most; 0 for as fast as it goes
	// Progress is told how far it is, by one goroutine at a time: how many of the
	// users have been asked for their rooms, then how many of the rooms are done.
	Progress func(what string, done, total int)
}

// Backfilled is what came of a backfill.
type Backfilled struct {
	Users   int `json:"users"`   // who were asked for their rooms
	Rooms   int `json:"rooms"`   // that they are joined to
	Known   int `json:"known"`   // of these: NATS knew them before
	Fetched int `json:"fetched"` // their state is in NATS now
	Refused int `json:"refused"` // the homeserver does not show their state
	Failed  int `json:"failed"`  // the homeserver could not tell their state; another run tries again
}

// backfill is a Backfill on its way.
type backfill struct {
	Backfill
	seeder *seeder
	pace   *rate.Limiter
	log    *slog.Logger

	mu   sync.Mutex
	done int
	sum  Backfilled
}

// RunBackfill fetches the state of every room that a user is joined to. What was
// fetched is in NATS, so a run that was ended goes on in the next one. An error says
// that it ended early.
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

// rooms returns every room with some of the users who are in it.
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
	b.sum.Rooms = len(rooms)
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

// fetch sees to one room. Only an error that other rooms will have as well ends the
// run.
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
		b.log.Warn("the homeserver does not show the state of a room", "room_id", string(room), "error", err)
		return b.note(nil, &b.sum.Refused)
	case errors.Is(err, homeserver.ErrCannotTell) && ctx.Err() == nil:
		b.log.Warn("the state of a room could not be fetched", "room_id", string(room), "error", err)
		return b.note(nil, &b.sum.Failed)
	}
	return b.note(err, &b.sum.Fetched)
}

func (b *backfill) isKnown(ctx context.Context, room events.RoomID) (known bool, err error) {
	if b.Again || ctx.Err() != nil {
		return false, ctx.Err()
	}
	err = persist(ctx, func(ctx context.Context) (err error) {
		known, err = b.seeder.conn.KnowsRoom(ctx, room)
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
