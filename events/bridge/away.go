package bridge

import (
	"context"
	"slices"

	"github.com/tidwall/gjson"

	"poked/events"
)

// presence is what an event says about local users in its room.
type presence int

const (
	somebody presence = iota // a local user was in the room when the event was sent to the bridge
	nobody                   // a local user left, who may have been the last
	unclear                  // the bridge may have received it although no local user is in the room
)

// presenceBy returns what an event says about local users in its room: a homeserver sends the
// events of a room while a local user is in it, and those that are about a local user.
func (s *seeder) presenceBy(ev *events.RoomEvent) presence {
	target := events.UserID(ev.StateKey)
	if ev.Type != "m.room.member" || !ev.IsState || !s.reg.IsLocal(target) {
		return somebody
	}
	membership := gjson.GetBytes(ev.Content, "membership").Str
	switch {
	case membership == "join", ev.Sender != target && s.reg.IsLocal(ev.Sender):
		return somebody
	case membership == "leave", membership == "ban":
		return nobody
	}
	return unclear
}

// isCurrent reports whether the state of a room that NATS holds is current, as far as it was
// sent: no local user joins by these events, or one was in the room before. For a join it
// looks at what came before it, in these events and then in NATS, so it costs a request for
// each join.
func (s *seeder) isCurrent(ctx context.Context, room events.RoomID, coming []events.RoomEvent) (bool, error) {
	first := slices.IndexFunc(coming, func(ev events.RoomEvent) bool { return isJoin(&ev) && s.reg.IsLocal(events.UserID(ev.StateKey)) })
	if first < 0 {
		return true, nil
	}
	for i := first - 1; i >= 0; i-- {
		if p := s.presenceBy(&coming[i]); p != unclear {
			return p == somebody, nil
		}
	}
	if slices.ContainsFunc(coming, isCreate) {
		return true, nil // the room is new, whatever the order in which its events come
	}
	var newest []byte
	err := persist(ctx, func(ctx context.Context) (err error) {
		newest, err = s.rooms.NewestOf(ctx, room)
		return err
	})
	if err != nil || newest == nil {
		return false, err
	}
	ev, err := events.ParseRoomEvent(newest)
	return err == nil && s.presenceBy(&ev) == somebody, nil
}
