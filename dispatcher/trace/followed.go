package trace

import (
	"context"
	"fmt"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/roomstore"
	"poked/events/stream"
)

// followed is what happened in a room after an event, as far as it concerns the event.
type followed struct {
	redacted *Happening
	reads    map[events.UserID]*Happening // the first by which each user has read it
}

// whatFollowed reads what ROOMS holds of the room since the event. Of a thread only what is
// of the same thread, or of the whole room, counts.
func whatFollowed(ctx context.Context, conn *stream.Conn, of *roomstore.LoggedEvent, thread events.EventID) (*followed, error) {
	f := &followed{reads: map[events.UserID]*Happening{}}
	id := events.EventID(gjson.GetBytes(of.Data, "event_id").Str)
	room := events.RoomID(gjson.GetBytes(of.Data, "room_id").Str)
	known := map[events.EventID]bool{id: true} // events since
	for msg, err := range roomstore.New(conn).Traffic(ctx, room, of.Seq+1) {
		if err != nil {
			return nil, fmt.Errorf("read what followed the event: %w", err)
		}
		if msg.Receipts {
			f.receipts(&msg, thread, known)
			continue
		}
		ev, err := events.ParseMarked(msg.Subject, msg.Data, msg.Superseded)
		if err != nil || msg.Historical {
			continue
		}
		known[ev.EventID] = true
		f.event(&ev, &msg, id, thread)
	}
	return f, nil
}

// receipts notes who has read the event by receipts for it or for a later event.
func (f *followed) receipts(msg *roomstore.LoggedEvent, thread events.EventID, since map[events.EventID]bool) {
	_, all, _ := events.ParsePublishedReceipts(msg.Subject, msg.Data) // those that can be read
	for _, r := range all {
		if since[r.Event] && (r.Whole || r.Thread == thread) {
			f.note(r.User, Happening{Kind: "receipt", By: r.User, EventID: r.Event, At: msg.Time})
		}
	}
}

// event notes what a later event did to the traced one.
func (f *followed) event(ev *events.RoomEvent, msg *roomstore.LoggedEvent, id, thread events.EventID) {
	switch {
	case ev.Type == "m.room.redaction" && f.redacted == nil && redacts(ev) == id:
		f.redacted = &Happening{Kind: "redaction", By: ev.Sender, EventID: ev.EventID, At: msg.Time}
	case ev.IsState && ev.Type == "m.room.member":
		switch gjson.GetBytes(ev.Content, "membership").Str {
		case "leave", "ban":
			user := events.UserID(ev.StateKey)
			f.note(user, Happening{Kind: "left", By: ev.Sender, EventID: ev.EventID, At: msg.Time})
		}
	case !ev.IsState && threadOf(ev) == thread:
		f.note(ev.Sender, Happening{Kind: "own_message", By: ev.Sender, EventID: ev.EventID, At: msg.Time})
	}
}

// redacts returns what a redaction redacts: rooms of version 11 and later have it in content.
func redacts(ev *events.RoomEvent) events.EventID {
	if inside := gjson.GetBytes(ev.Content, "redacts").Str; inside != "" {
		return events.EventID(inside)
	}
	return events.EventID(gjson.GetBytes(ev.Raw, "redacts").Str)
}

// threadOf returns the root of the thread to which an event says that it belongs.
func threadOf(ev *events.RoomEvent) events.EventID {
	relation := gjson.GetBytes(ev.Content, `m\.relates_to`)
	if relation.Get("rel_type").Str != "m.thread" {
		return ""
	}
	return events.EventID(relation.Get("event_id").Str)
}

// note keeps the first by which a user has read the event.
func (f *followed) note(user events.UserID, by Happening) {
	if f.reads[user] == nil {
		f.reads[user] = &by
	}
}
