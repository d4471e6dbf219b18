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
	// maxWitnesses is the maximum number of users on whose behalf a room's state is
	// requested.
	maxWitnesses = 3
	// residentsFor is how long the list of joined rooms is cached.
	residentsFor = 10 * time.Minute
	// residentsTimeout bounds the time to fetch that list.
	residentsTimeout = time.Minute
	residentsAtOnce  = 4
)

// witnesses returns local users who are in the room according to the events, beginning
// with those who join, and reports whether one joins.
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
		case ev.Sender != target: // invites, kicks or bans, and stays in the room
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

// residents caches for each room one member who has a pusher. It is used for rooms in
// which only users of other servers send events.
type residents struct {
	service *homeserver.Service
	reg     *homeserver.Registration
	conn    *stream.Conn

	mu    sync.Mutex
	rooms map[events.RoomID]events.UserID
	until time.Time
}

// of returns a member of a room. It finds none if the homeserver cannot be asked.
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

// eachJoined fetches the joined rooms of users, several in parallel, and passes them to
// take, one call at a time. It skips users for whom the homeserver refuses; the first
// other error ends it.
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
