package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"
	"golang.org/x/sync/errgroup"

	"poked/events"
)

// StateEvent is one event of a room's state.
type StateEvent struct {
	Seq     uint64 // in ROOMS
	Subject string // the subject on which it was published
	Data    []byte // for ParsePublished
}

// RoomState yields the state events of a room, and the subscriptions to its threads, as of just before the ROOMS sequence before.
// If two have the same type and state key, the later one replaces the earlier.
//
// It combines ROOM_STATE and ROOMS. ROOM_STATE keeps only the newest event of each type and
// state key. Where that is from after before, RoomState looks for its predecessor in ROOMS;
// one older than ROOMS keeps is missing. ROOM_STATE is also filled slightly later
// than ROOMS, so the events that it may lack are read from ROOMS.
func (c *Conn) RoomState(ctx context.Context, room events.RoomID, before uint64) iter.Seq2[StateEvent, error] {
	return func(yield func(StateEvent, error) bool) {
		if before <= 1 {
			return
		}
		state, err := c.roomState(ctx, room, before)
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

func (c *Conn) roomState(ctx context.Context, id events.RoomID, before uint64) ([]StateEvent, error) {
	room := events.Token(id)
	number := c.topology.number(c.topology.PartOfRoom(id))
	rooms, filled := rangeName(Rooms, number), rangeName(streamRoomState, number)
	known, err := c.stateHeardOf(ctx, number, before-1)
	if err != nil {
		return nil, err
	}
	last, heard, err := c.readLast(ctx, filled, "state."+room+".>")
	if err == nil && heard < known.seq {
		err = fmt.Errorf("read %s: %w", filled, errBehind)
	}
	if err != nil {
		return nil, err
	}
	var state []StateEvent
	var replaced []string
	newer := map[string][]byte{} // by subject in ROOMS
	prefix := "rooms." + c.topology.partOf(room) + "." + room + ".state."
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
	if replaced, err = c.withHistory(ctx, rooms, replaced, prefix+">"); err != nil {
		return nil, err
	}
	older, err := c.readLastBefore(ctx, rooms, replaced, before)
	if err != nil {
		return nil, err
	}
	for i := range older { // what was redacted since is not shown any more
		if now := newer[older[i].Subject]; eventIDOf(now) != "" && eventIDOf(now) == eventIDOf(older[i].Data) {
			older[i].Data = now
		}
	}
	unheard, err := c.readUnheard(ctx, rooms, prefix+">", known.source, before)
	return slices.Concat(state, older, unheard), err
}

func eventIDOf(raw []byte) string { return gjson.GetBytes(raw, "event_id").Str }

// LastState returns the newest state event of a room that was published with a type and
// state key, as the leader knows it. Its Seq is 0 if ROOMS does not hold it any more, and its
// Data is nil if there is none.
func (c *Conn) LastState(ctx context.Context, room events.RoomID, kind, key string) (StateEvent, error) {
	subject := ".state." + events.Token(kind) + "." + events.Token(key)
	token := events.Token(room)
	last, err := c.askLeader(ctx, c.topology.RoomsOf(room), query{Last: c.topology.roomSubject(room) + subject})
	if err == nil && last != nil {
		return StateEvent{Seq: last.Sequence, Subject: events.PublishedAs(last.Subject), Data: last.Data}, nil
	}
	if err == nil {
		last, err = c.askLeader(ctx, c.topology.StateOf(token), query{Last: "state." + token + strings.TrimPrefix(subject, ".state")})
	}
	if err != nil || last == nil {
		return StateEvent{}, err
	}
	return StateEvent{Data: last.Data}, nil
}

// withHistory returns those of the subjects of ROOMS, all of which match filter, that
// have more than one message: the others have no predecessor. The server counts far
// faster than it finds the last message as of a sequence, and in a new room there is
// usually none to find.
func (c *Conn) withHistory(ctx context.Context, rooms string, subjects []string, filter string) ([]string, error) {
	if len(subjects) == 0 {
		return nil, nil
	}
	info, err := c.streams[rooms].Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("count the events of a room: %w", err)
	}
	return slices.DeleteFunc(subjects, func(subject string) bool { return info.State.Subjects[subject] < 2 }), nil
}

// stateHeard records that ROOM_STATE, at its sequence seq, contained all state events up
// to the sequence source of ROOMS.
type stateHeard struct {
	seq    uint64
	source uint64 // in ROOMS
}

// stateHeardOf returns how far the stream ROOM_STATE with a number is filled. It asks the server
// only if the last known value is below enough.
func (c *Conn) stateHeardOf(ctx context.Context, number int, enough uint64) (stateHeard, error) {
	at, filled := &c.stateHeard[number], rangeName(streamRoomState, number)
	for tries := 0; ; tries++ {
		var known stateHeard
		heard := at.Load()
		if heard != nil {
			known = *heard
		}
		if known.source >= enough {
			return known, nil
		}
		stream, err := c.askStream(ctx, filled)
		if err != nil {
			return known, fmt.Errorf("look up stream %s: %w", filled, err)
		}
		last := stream.CachedInfo().State.LastSeq
		if last == 0 {
			return known, nil
		}
		msg, err := stream.GetMsg(ctx, last)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			if tries < 3 {
				continue // replaced since
			}
			return known, nil // removed by hand; more is read from ROOMS than needed
		}
		if err != nil {
			return known, fmt.Errorf("read %s: %w", filled, err)
		}
		if source, ok := sourceSeq(msg.Header); ok {
			known = stateHeard{seq: last, source: source}
			at.CompareAndSwap(heard, &known) // unless it was made anew meanwhile
		}
		return known, nil
	}
}

// readUnheard reads from ROOMS the state events of a room that ROOM_STATE may lack.
func (c *Conn) readUnheard(ctx context.Context, rooms, filter string, heard, before uint64) ([]StateEvent, error) {
	var state []StateEvent
	if heard+1 >= before {
		return nil, nil
	}
	for msg, err := range c.readStored(ctx, rooms, filter, heard+1) {
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
func (c *Conn) readLast(ctx context.Context, stream, filter string) (last []*jetstream.RawStreamMsg, heard uint64, err error) {
	last, heard, err = c.readNewest(ctx, stream, newest{Filters: []string{filter}})
	switch {
	case errors.Is(err, errTooMany):
		last, err = c.readAllForNewest(ctx, stream, filter)
		return last, math.MaxUint64, err
	case err == nil && len(last) == 0:
		return nil, math.MaxUint64, c.checkNone(ctx, stream, filter)
	}
	return last, heard, err
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
func (c *Conn) readLastBefore(ctx context.Context, rooms string, subjects []string, before uint64) ([]StateEvent, error) {
	var state []StateEvent
	for some := range slices.Chunk(subjects, maxLast) {
		last, _, err := c.readNewest(ctx, rooms, newest{Filters: some, UpTo: before - 1})
		if err != nil {
			return nil, err
		}
		if err := c.checkLastBefore(ctx, rooms, some, last, before); err != nil {
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
func (c *Conn) checkLastBefore(ctx context.Context, rooms string, subjects []string, last []*jetstream.RawStreamMsg, before uint64) error {
	after := make(map[string]uint64, len(last))
	for _, msg := range last {
		after[msg.Subject] = msg.Sequence
	}
	checks, ctx := errgroup.WithContext(ctx)
	checks.SetLimit(checksAtOnce)
	for _, subject := range subjects {
		checks.Go(func() error {
			next, err := c.askLeader(ctx, rooms, query{Next: subject, From: after[subject] + 1})
			if err == nil && next != nil && next.Sequence < before {
				err = fmt.Errorf("read %s: %w", rooms, errBehind)
			}
			return err
		})
	}
	return checks.Wait()
}

// sourceSeq returns the ROOMS sequence of a message in ROOM_STATE: the second word of its
// source header, after the stream's name.
func sourceSeq(header map[string][]string) (uint64, bool) {
	values := header["Nats-Stream-Source"]
	if len(values) != 1 {
		return 0, false
	}
	words := strings.Fields(values[0])
	if len(words) < 2 {
		return 0, false
	}
	seq, err := strconv.ParseUint(words[1], 10, 64)
	return seq, err == nil
}
