package roomstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"
	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/stream"
)

// StateEvent is one event of a room's state.
type StateEvent struct {
	Seq     uint64 // in ROOMS
	Subject string // the subject on which it was published
	Data    []byte // for ParsePublished
}

// State yields the state events of a room, and the subscriptions to its threads, as of just
// before the ROOMS sequence before. If two have the same type and state key, the later one
// replaces the earlier.
//
// It combines ROOM_STATE and ROOMS. ROOM_STATE keeps only the newest event of each type and
// state key. Where that is from after before, State looks for its predecessor in ROOMS; one
// older than ROOMS keeps is missing. ROOM_STATE is also filled slightly later than ROOMS, so
// the events that it may lack are read from ROOMS.
func (s *Store) State(ctx context.Context, room events.RoomID, before uint64) iter.Seq2[StateEvent, error] {
	return func(yield func(StateEvent, error) bool) {
		if before <= 1 {
			return
		}
		state, err := s.state(ctx, room, before)
		if err != nil {
			yield(StateEvent{}, err)
			return
		}
		for _, ev := range state {
			if !yield(ev, nil) {
				return
			}
		}
	}
}

func (s *Store) state(ctx context.Context, id events.RoomID, before uint64) ([]StateEvent, error) {
	room, topology := events.Token(id), s.conn.Topology()
	rooms, filled := topology.RoomsOf(id), topology.StateOf(room)
	known, err := s.heardOf(ctx, filled, before-1)
	if err != nil {
		return nil, err
	}
	last, heard, err := s.readLast(ctx, filled, "state."+room+".>")
	if err == nil && heard < known.seq {
		err = fmt.Errorf("read %s: %w", filled, stream.ErrBehind)
	}
	if err != nil {
		return nil, err
	}
	var state []StateEvent
	var replaced []string
	newer := map[string][]byte{} // by subject in ROOMS
	prefix := topology.RoomSubject(id) + ".state."
	for _, msg := range last {
		subject := prefix + strings.TrimPrefix(msg.Subject, "state."+room+".") // in ROOMS
		seq, ok := sourceSeq(msg.Header)
		switch {
		case ok && seq < before:
			state = append(state, StateEvent{Seq: seq, Subject: events.PublishedAs(subject), Data: msg.Data})
		default:
			replaced = append(replaced, subject)
			newer[events.PublishedAs(subject)] = msg.Data
		}
	}
	if replaced, err = s.withHistory(ctx, rooms, replaced, prefix+">"); err != nil {
		return nil, err
	}
	older, err := s.readLastBefore(ctx, rooms, replaced, before)
	if err != nil {
		return nil, err
	}
	for i := range older { // what was redacted since is not shown any more
		if now := newer[older[i].Subject]; eventIDOf(now) != "" && eventIDOf(now) == eventIDOf(older[i].Data) {
			older[i].Data = now
		}
	}
	unheard, err := s.readUnheard(ctx, rooms, prefix+">", known.source, before)
	return slices.Concat(state, older, unheard), err
}

func eventIDOf(raw []byte) string { return gjson.GetBytes(raw, "event_id").Str }

// LastState returns the newest state event of a room that was published with a type and
// state key, as the leader knows it. Its Seq is 0 if ROOMS does not hold it any more, and its
// Data is nil if there is none.
func (s *Store) LastState(ctx context.Context, room events.RoomID, kind, key string) (StateEvent, error) {
	at := s.placesOf(room, kind, key)
	last, err := s.conn.AskLeader(ctx, at.rooms, stream.Query{Last: at.published})
	if err == nil && last != nil {
		return StateEvent{Seq: last.Sequence, Subject: events.PublishedAs(last.Subject), Data: last.Data}, nil
	}
	if err == nil {
		last, err = s.conn.AskLeader(ctx, at.filled, stream.Query{Last: at.kept})
	}
	if err != nil || last == nil {
		return StateEvent{}, err
	}
	return StateEvent{Data: last.Data}, nil
}

// places is where a room's state of one type and state key is stored.
type places struct {
	rooms, published string // stream ROOMS, and the subject there
	filled, kept     string // stream ROOM_STATE, and the subject there
}

func (s *Store) placesOf(room events.RoomID, kind, key string) places {
	topology, token := s.conn.Topology(), events.Token(room)
	state := "." + events.Token(kind) + "." + events.Token(key)
	return places{
		rooms: topology.RoomsOf(room), published: topology.RoomSubject(room) + ".state" + state,
		filled: topology.StateOf(token), kept: "state." + token + state,
	}
}

// withHistory returns those of the subjects of ROOMS, all of which match filter, that
// have more than one message: the others have no predecessor. The server counts far
// faster than it finds the last message as of a sequence, and in a new room there is
// usually none to find.
func (s *Store) withHistory(ctx context.Context, rooms string, subjects []string, filter string) ([]string, error) {
	if len(subjects) == 0 {
		return nil, nil
	}
	info, err := s.conn.Stream(rooms).Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("count the events of a room: %w", err)
	}
	return slices.DeleteFunc(subjects, func(subject string) bool { return info.State.Subjects[subject] < 2 }), nil
}

// readUnheard reads from ROOMS the state events of a room that ROOM_STATE may lack.
func (s *Store) readUnheard(ctx context.Context, rooms, filter string, heard, before uint64) ([]StateEvent, error) {
	var state []StateEvent
	if heard+1 >= before {
		return nil, nil
	}
	for msg, err := range s.conn.ReadStored(ctx, rooms, filter, heard+1) {
		if err != nil {
			return nil, err
		}
		if msg.Sequence >= before {
			break
		}
		state = append(state, StateEvent{Seq: msg.Sequence, Subject: events.PublishedAs(msg.Subject), Data: msg.Data})
	}
	return state, nil
}

// readLast returns the last message of each subject that matches filter. heard is the
// last sequence that the answering server had; it is unlimited after a read through the
// leader.
func (s *Store) readLast(ctx context.Context, name, filter string) (last []*jetstream.RawStreamMsg, heard uint64, err error) {
	last, heard, err = s.conn.ReadNewest(ctx, name, stream.Newest{Filters: []string{filter}})
	switch {
	case errors.Is(err, stream.ErrTooMany):
		last, err = s.readAllForNewest(ctx, name, filter)
		return last, math.MaxUint64, err
	case err == nil && len(last) == 0:
		return nil, math.MaxUint64, s.conn.CheckNone(ctx, name, filter)
	}
	return last, heard, err
}

// readAllForNewest returns the last message of each subject that matches filter,
// according to the leader, when they do not fit one answer: it reads everything under the
// filter.
func (s *Store) readAllForNewest(ctx context.Context, name, filter string) ([]*jetstream.RawStreamMsg, error) {
	last := map[string]uint64{}
	var page []*jetstream.RawStreamMsg
	for msg, err := range s.conn.ReadStored(ctx, name, filter, 1) {
		if err != nil {
			return nil, err
		}
		last[msg.Subject] = msg.Sequence
		page = append(page, msg)
	}
	return slices.DeleteFunc(page, func(msg *jetstream.RawStreamMsg) bool { return last[msg.Subject] != msg.Sequence }), nil
}

const (
	// maxLast is the largest number of subjects whose last messages the server returns at
	// once.
	maxLast = 1024
	// checksAtOnce is how many subjects the leader checks concurrently.
	checksAtOnce = 16
)

// readLastBefore returns the last message before a sequence of each of these subjects of
// ROOMS. Each has a later one.
func (s *Store) readLastBefore(ctx context.Context, rooms string, subjects []string, before uint64) ([]StateEvent, error) {
	var state []StateEvent
	for some := range slices.Chunk(subjects, maxLast) {
		last, _, err := s.conn.ReadNewest(ctx, rooms, stream.Newest{Filters: some, UpTo: before - 1})
		if err != nil {
			return nil, err
		}
		if err := s.checkLastBefore(ctx, rooms, some, last, before); err != nil {
			return nil, err
		}
		for _, msg := range last {
			state = append(state, StateEvent{Seq: msg.Sequence, Subject: events.PublishedAs(msg.Subject), Data: msg.Data})
		}
	}
	return state, nil
}

// checkLastBefore confirms with the leader that what a replica returned for these
// subjects is the last message before a sequence.
func (s *Store) checkLastBefore(ctx context.Context, rooms string, subjects []string, last []*jetstream.RawStreamMsg, before uint64) error {
	after := make(map[string]uint64, len(last))
	for _, msg := range last {
		after[msg.Subject] = msg.Sequence
	}
	checks, ctx := errgroup.WithContext(ctx)
	checks.SetLimit(checksAtOnce)
	for _, subject := range subjects {
		checks.Go(func() error {
			next, err := s.conn.AskLeader(ctx, rooms, stream.Query{Next: subject, From: after[subject] + 1})
			if err == nil && next != nil && next.Sequence < before {
				err = fmt.Errorf("read %s: %w", rooms, stream.ErrBehind)
			}
			return err
		})
	}
	return checks.Wait()
}
