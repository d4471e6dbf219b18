package bridge

import (
	"context"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
)

// staleAfter is how old a state event may be when it arrives without being checked.
const staleAfter = 10 * time.Minute

// hasLost reports whether a state event that comes late is not the room's current state: the
// homeserver has another event of its type and state key. If the homeserver cannot be asked,
// or tells nothing of that state, the event counts as current, as any other does.
func (s *seeder) hasLost(ctx context.Context, ev *events.RoomEvent) bool {
	user := events.UserID(ev.StateKey)
	if ev.Type != "m.room.member" || !s.reg.IsLocal(user) {
		found := false
		if user, found = s.resident.of(ctx, ev.RoomID); !found {
			return false
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lost := false
	for raw, err := range s.service.RoomState(ctx, ev.RoomID, user) {
		if err != nil {
			s.log.Warn("whether late state stands cannot be asked", "room_id", string(ev.RoomID), "error", err)
			return false
		}
		state := gjson.GetManyBytes(raw, "type", "state_key", "event_id")
		if state[0].Str == ev.Type && state[1].Str == ev.StateKey {
			lost = state[2].Str != string(ev.EventID)
		}
	}
	return lost
}
