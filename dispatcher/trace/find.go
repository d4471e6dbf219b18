package trace

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/operator"
	"poked/events/roomstore"
	"poked/events/stream"
)

// find returns the event as ROOMS holds it, or nil if it does not: its first publication that
// was not historical, or else the first.
func find(ctx context.Context, conn *stream.Conn, q *Query) (*roomstore.LoggedEvent, error) {
	from := uint64(1)
	if q.Room == "" {
		var err error
		if from, err = q.search(ctx, conn); err != nil || from == 0 {
			return nil, err
		}
	}
	var past *roomstore.LoggedEvent
	for logged, err := range roomstore.New(conn).Log(ctx, q.Room, from) {
		if err != nil {
			return nil, fmt.Errorf("read the room: %w", err)
		}
		switch {
		case !holds(logged.Data, q.Event):
		case !logged.Historical:
			return &logged, nil
		case past == nil:
			past = &logged
		}
	}
	return past, nil
}

// searchReport is how often the search for an event tells how far it is.
const searchReport = 500 * time.Millisecond

// search searches all of ROOMS for the event, sets its room, and returns its sequence; 0 if
// ROOMS does not hold it.
func (q *Query) search(ctx context.Context, conn *stream.Conn) (uint64, error) {
	for _, name := range conn.Topology().StreamsOf(stream.Rooms) {
		seq, err := q.searchIn(ctx, conn, name)
		if err != nil {
			return 0, fmt.Errorf("search for the event: %w", err)
		}
		if seq > 0 {
			return seq, nil
		}
	}
	return 0, nil
}

// searchIn searches one stream of ROOMS.
func (q *Query) searchIn(ctx context.Context, conn *stream.Conn, name string) (uint64, error) {
	_, end, err := conn.StreamEnd(ctx, name)
	if err != nil {
		return 0, err
	}
	told := time.Now()
	for msg, err := range conn.Pass(ctx, name, "rooms.>", 1) {
		if err != nil {
			return 0, err
		}
		if q.Searched != nil && time.Since(told) > searchReport {
			told = time.Now()
			q.Searched(stream.Ordinal(msg.Seq), stream.Ordinal(end))
		}
		if holds(msg.Data, q.Event) {
			q.Room = events.RoomID(gjson.GetBytes(msg.Data, "room_id").Str)
			return msg.Seq, nil
		}
	}
	return 0, nil
}

// holds reports whether a message of ROOMS is this event.
func holds(raw []byte, id events.EventID) bool {
	return bytes.Contains(raw, []byte(id)) && gjson.GetBytes(raw, "event_id").Str == string(id)
}

// unreadable looks for a dead letter of an event that ROOMS does not hold, or holds in a form
// that cannot be read.
func unreadable(ctx context.Context, conn *stream.Conn, q *Query) (*Trace, error) {
	for letter, err := range operator.NewClient(conn).DeadLetters(ctx, operator.DeadFilter{Reason: events.DeadBadEvent}) {
		if err != nil {
			return nil, fmt.Errorf("search the dead letters: %w", err)
		}
		if letter.EventID == q.Event || bytes.Contains(letter.Message, []byte(`"`+q.Event+`"`)) {
			return &Trace{EventID: q.Event, RoomID: letter.RoomID, Unreadable: letterOf(&letter), Users: []User{}}, nil
		}
	}
	return nil, ErrNotFound
}

func letterOf(l *operator.StoredDeadLetter) *Letter {
	return &Letter{Seq: l.Seq, Reason: l.Reason, Detail: l.Detail, At: l.At, LastError: l.LastError}
}

// Candidate is an event that somebody may mean who knows its room and its time.
type Candidate struct {
	EventID events.EventID `json:"event_id"`
	Type    string         `json:"type"`
	Sender  events.UserID  `json:"sender"`
	At      time.Time      `json:"at"` // when it was stored
}

// MaxCandidates is how many candidates [Around] returns at most.
const MaxCandidates = 100

// Around returns the events of a room that were stored from one time to another, oldest first.
func Around(ctx context.Context, conn *stream.Conn, room events.RoomID, from, to time.Time) (all []Candidate, err error) {
	for logged, err := range roomstore.New(conn).LogSince(ctx, room, from) {
		switch {
		case err != nil:
			return nil, fmt.Errorf("read the room: %w", err)
		case logged.Time.After(to) || len(all) == MaxCandidates:
			return all, nil
		case logged.Time.Before(from):
			continue
		}
		if ev, err := events.ParseMarked(logged.Subject, logged.Data, logged.Superseded); err == nil {
			all = append(all, Candidate{EventID: ev.EventID, Type: ev.Type, Sender: ev.Sender, At: logged.Time})
		}
	}
	return all, nil
}
