package bridge

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/gjson"
	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/homeserver"
	"poked/events/stream"
)

const (
	// maxWitnesses is as how many users of a transaction a room's state is asked for.
	maxWitnesses = 3
	// residentsFor is how long it is believed who is in which room.
	residentsFor = 10 * time.Minute
	// residentsTimeout bounds the time in which they are asked.
	residentsTimeout = time.Minute
	residentsAtOnce  = 4
)

// witnesses returns the local users that events name as being in the room, those
// who join it first, and whether one joins.
func (s *seeder) witnesses(coming []events.RoomEvent) (list []events.UserID, joins bool) {
	var senders []events.UserID
	for i := range coming {
		ev := &coming[i]
		target := events.UserID(ev.StateKey)
		switch {
		case ev.Type != "m.room.member":
			senders = append(senders, ev.Sender)
		case gjson.GetBytes(ev.Content, "membership").Str == "join":
			list = append(list, target)
		case ev.Sender != target: // who does not leave
			senders = append(senders, ev.Sender)
		}
	}
	foreign := func(user events.UserID) bool { return !s.reg.IsLocal(user) }
	list = slices.DeleteFunc(list, foreign)
	joins = len(list) > 0
	for _, user := range slices.DeleteFunc(senders, foreign) {
		if !slices.Contains(list, user) {
			list = append(list, user)
		}
	}
	return list[:min(len(list), maxWitnesses)], joins
}

// residents knows for rooms one user each who has a pusher and is joined. It asks
// the homeserver, and believes the answer for a while: it is for rooms in which only
// others speak.
type residents struct {
	service *homeserver.Service
	reg     *homeserver.Registration
	conn    *stream.Conn

	mu    sync.Mutex
	rooms map[events.RoomID]events.UserID
	until time.Time
}

// of returns a user in a room. What could not be asked counts as nobody.
func (r *residents) of(ctx context.Context, room events.RoomID) (events.UserID, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().After(r.until) {
		ctx, cancel := context.WithTimeout(ctx, residentsTimeout)
		defer cancel()
		r.rooms = map[events.RoomID]events.UserID{}
		users, err := localUsers(ctx, r.conn, r.reg)
		if err == nil {
			_ = eachJoined(ctx, r.service, users, residentsAtOnce, func(user events.UserID, rooms []events.RoomID) {
				for _, room := range rooms {
					r.rooms[room] = user
				}
			})
		}
		r.until = time.Now().Add(residentsFor)
	}
	user, ok := r.rooms[room]
	return user, ok
}

// localUsers returns the local users who have pushers.
func localUsers(ctx context.Context, conn *stream.Conn, reg *homeserver.Registration) ([]events.UserID, error) {
	var users []events.UserID
	for set, err := range conn.AllPushers(ctx) {
		if err != nil {
			return nil, err
		}
		if reg.IsLocal(set.UserID) {
			users = append(users, set.UserID)
		}
	}
	slices.Sort(users)
	return users, nil
}

// eachJoined asks for the joined rooms of users, some of them side by side, and
// hands them to take, one after the other. Users that the homeserver refuses to
// speak of are left out; the first other error ends it.
func eachJoined(ctx context.Context, service *homeserver.Service, users []events.UserID, atOnce int, take func(events.UserID, []events.RoomID)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	var mu sync.Mutex
	for _, user := range users {
		group.Go(func() error {
			rooms, err := service.JoinedRooms(ctx, user)
			if errors.Is(err, homeserver.ErrRefused) {
				return nil
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			take(user, rooms)
			return nil
		})
	}
	return group.Wait()
}
