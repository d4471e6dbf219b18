package match

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/roomstore"
	"poked/events/wait"
)

// stateBy returns the type and state key of the state that an event set and that still
// stands, if match keeps any of it.
func (r *room) stateBy(id events.EventID) (kind, key string, stands bool) {
	switch hash := hashOf(id); hash {
	case r.set.name:
		return "m.room.name", "", true
	case r.set.alias:
		return "m.room.canonical_alias", "", true
	case r.set.avatar:
		return "m.room.avatar", "", true
	case r.set.levels:
		return "m.room.power_levels", "", true
	default:
		for user, m := range r.members {
			if m.event == hash {
				return "m.room.member", string(user), true
			}
		}
	}
	return "", "", false
}

// redactState redacts the current state of a room if a redaction is of it: the room forgets
// what the specification does not protect, and the redacted form of the event replaces it
// in ROOMS and ROOM_STATE, so that whoever loads the room later has that too. It reports
// whether the redaction is of current state.
//
// m.room.create is left alone: nothing of it is ever shown, and since room version 11 all of
// it is protected.
func (m *Matcher) redactState(ctx context.Context, f *fanout, r *room, d *redaction) (stands bool, err error) {
	kind, key, stands := r.stateBy(d.target)
	if !stands {
		return false, nil
	}
	var last roomstore.StateEvent
	err = wait.Until(ctx, wait.RetryPause, m.failed, func() (err error) {
		last, err = m.cfg.Rooms.LastState(ctx, r.id, kind, key)
		return err
	})
	if err != nil {
		return true, err
	}
	ev, err := events.ParseRoomEvent(last.Data)
	switch {
	case err != nil || ev.EventID != d.target: // newer state was published, and is matched soon
		if d.anyone {
			r.redact(kind, key)
		}
		return true, nil
	case !d.appliesTo(ev.Sender):
		return true, nil
	}
	return true, m.replaceRedacted(f, r, &ev, last.Seq, d)
}

// redactArrived redacts a state event whose redaction arrived before it.
func (m *Matcher) redactArrived(f *fanout, r *room, ev *events.RoomEvent) error {
	for _, it := range f.pending {
		if d := it.redaction; d != nil && ev.IsState && ev.IsOn(f.msg.Subject) && d.appliesTo(ev.Sender) {
			return m.replaceRedacted(f, r, ev, f.msg.Seq, d)
		}
	}
	return nil
}

// replaceRedacted redacts a room's state, and publishes the redacted form of its event
// unless there is newer state. seq is the event's sequence in ROOMS, or 0 if it is there no
// longer.
func (m *Matcher) replaceRedacted(f *fanout, r *room, ev *events.RoomEvent, seq uint64, d *redaction) error {
	r.redact(ev.Type, ev.StateKey)
	if ev.IsRedacted() {
		return nil
	}
	raw, err := json.Marshal(map[string]any{
		"event_id": ev.EventID, "room_id": ev.RoomID, "type": ev.Type, "sender": ev.Sender, "state_key": ev.StateKey,
		"origin_server_ts": ev.OriginServerTS, "content": r.version.redacted(ev.Type, ev.Content),
		"unsigned": map[string]any{"redacted_because": map[string]any{"event_id": d.id, "type": "m.room.redaction", "sender": d.sender}},
	})
	if err != nil {
		return fmt.Errorf("encode redacted state: %w", err)
	}
	f.addState(ev.Subject(), raw, seq)
	return nil
}

// redact removes from a room's state what a redaction removes.
func (r *room) redact(kind, key string) {
	switch kind {
	case "m.room.name":
		r.name = ""
	case "m.room.canonical_alias":
		r.alias = ""
	case "m.room.avatar":
		r.avatar = ""
	case "m.room.power_levels":
		if r.levels != nil { // notifications is protected by no room version
			levels := *r.levels
			levels.Notifications = nil
			if !r.version.atLeast(11) {
				levels.Invite = 0
			}
			r.levels = &levels
		}
	case "m.room.member":
		if m := r.members[events.UserID(key)]; m != nil {
			m.displayName = ""
			r.heroes = nil
		}
	}
}

// protected is what a redaction leaves of the content of events of each type, and the room
// version that added or (negative) removed that (Matrix specification, "Redactions" of each
// room version).
//
//nolint:gochecknoglobals // a table
var protected = map[string]map[string]int{
	"m.room.member":             {"membership": 1, "join_authorised_via_users_server": 9, "third_party_invite": 11},
	"m.room.create":             {"creator": 1},
	"m.room.join_rules":         {"join_rule": 1, "allow": 8},
	"m.room.aliases":            {"aliases": -6},
	"m.room.history_visibility": {"history_visibility": 1},
	"m.room.redaction":          {"redacts": 11},
	"m.room.power_levels": {
		"ban": 1, "events": 1, "events_default": 1, "invite": 11, "kick": 1, "redact": 1,
		"state_default": 1, "users": 1, "users_default": 1,
	},
}

// redacted returns the content that a redaction leaves of an event.
func (v roomVersion) redacted(kind string, content []byte) json.RawMessage {
	if kind == "m.room.create" && v.atLeast(11) {
		return content
	}
	left := map[string]json.RawMessage{}
	for key, since := range protected[kind] {
		value := gjson.GetBytes(content, key)
		if !value.Exists() || since > 0 && !v.atLeast(since) || since < 0 && v.atLeast(-since) {
			continue
		}
		raw := json.RawMessage(value.Raw)
		if key == "third_party_invite" { // only signed is protected
			signed := value.Get("signed")
			if !value.IsObject() || !signed.Exists() {
				continue
			}
			raw = json.RawMessage(`{"signed":` + signed.Raw + `}`)
		}
		left[key] = raw
	}
	raw, err := json.Marshal(left)
	if err != nil { // cannot happen: the parts are of JSON that was checked
		return json.RawMessage("{}")
	}
	return raw
}
