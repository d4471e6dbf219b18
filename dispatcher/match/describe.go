package match

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"poked/events"
	"poked/events/roomstore"
	"poked/events/stream"
)

// Description is what poked knows of a room now, for people who ask.
type Description struct {
	RoomID  events.RoomID `json:"room_id"`
	Known   bool          `json:"known"` // its m.room.create was published
	Version string        `json:"version,omitempty"`
	Name    string        `json:"name,omitempty"`
	Alias   string        `json:"canonical_alias,omitempty"`
	Creator events.UserID `json:"creator,omitempty"`
	Joined  int           `json:"joined"`
	// RoomLevel is the power that a sender needs for @room to notify.
	RoomLevel int64    `json:"notification_level_room"`
	Members   []Member `json:"members"` // joined and invited ones, by user id
	// First and Last are the oldest and the newest event of the room that ROOMS still holds
	// (72 h); nil if there is none.
	First *LogMark `json:"first,omitempty"`
	Last  *LogMark `json:"last,omitempty"`
}

// Member is a member of a room.
type Member struct {
	UserID      events.UserID `json:"user_id"`
	Membership  string        `json:"membership"`
	DisplayName string        `json:"display_name,omitempty"`
	Level       int64         `json:"power_level"`
}

// LogMark is an event of a room in ROOMS.
type LogMark struct {
	Seq     uint64         `json:"seq"`
	EventID events.EventID `json:"event_id,omitempty"`
	Type    string         `json:"type,omitempty"`
	At      time.Time      `json:"at"`
}

// Describe returns what poked knows of a room. It reads what ROOMS holds of the room.
func Describe(ctx context.Context, conn *stream.Conn, id events.RoomID) (*Description, error) {
	d, store := &Description{RoomID: id, Members: []Member{}}, roomstore.New(conn)
	for logged, err := range store.Log(ctx, id, 1) {
		if err != nil {
			return nil, fmt.Errorf("read the room: %w", err)
		}
		mark := &LogMark{Seq: logged.Seq, At: logged.Time}
		if ev, err := events.ParseMarked(logged.Subject, logged.Data, logged.Superseded); err == nil {
			mark.EventID, mark.Type = ev.EventID, ev.Type
		}
		if d.Last = mark; d.First == nil {
			d.First = mark
		}
	}
	_, end, err := conn.StreamEnd(ctx, conn.Topology().StreamOf(stream.Rooms, conn.Topology().PartOfRoom(id)))
	if err != nil {
		return nil, fmt.Errorf("read the room: %w", err)
	}
	rooms, err := newRooms(store, 1, 0)
	if err != nil {
		return nil, err
	}
	r, err := rooms.load(ctx, id, end+1)
	if err != nil {
		return nil, err
	}
	d.Known, d.Version, d.Name, d.Alias, d.Creator, d.Joined = r.version != "", string(r.version), r.name, r.alias, r.creator, r.joined
	d.RoomLevel = 50 // Matrix specification, m.room.power_levels, "notifications"
	if level, set := r.rulesRoom("").NotificationLevels["room"]; set {
		d.RoomLevel = level
	}
	for _, m := range r.members {
		if m.membership == "join" || m.membership == "invite" {
			d.Members = append(d.Members, Member{m.id, m.membership, m.displayName, r.rulesRoom(m.id).SenderLevel})
		}
	}
	slices.SortFunc(d.Members, func(a, b Member) int { return cmp.Compare(a.UserID, b.UserID) })
	return d, nil
}
