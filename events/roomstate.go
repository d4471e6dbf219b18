package events

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// StateEvent is one event of a room's state.
type StateEvent struct {
	Seq  uint64 // in ROOMS
	Data []byte
}

// RoomState yields the state events that make up a room's state as it was just
// before the ROOMS sequence before: a later event of the same type and state
// key replaces an earlier one.
//
// ROOM_STATE alone does not tell that. It keeps the newest event of each kind,
// which may be from after before: then ROOMS is asked for the one it replaced,
// and only if that is older than what ROOMS keeps (72 h) it is missing. And it
// is filled a moment after ROOMS: what it has not heard of yet is read there.
func (c *Conn) RoomState(ctx context.Context, room RoomID, before uint64) iter.Seq2[StateEvent, error] {
	return func(yield func(StateEvent, error) bool) {
		if before <= 1 {
			return
		}
		state, err := c.roomState(ctx, Token(room), before)
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

func (c *Conn) roomState(ctx context.Context, room string, before uint64) ([]StateEvent, error) {
	heard, err := c.stateHeardOf(ctx, before-1)
	if err != nil {
		return nil, err
	}
	newest, err := c.readLast(ctx, streamRoomState, "state."+room+".>")
	if err != nil {
		return nil, err
	}
	var state []StateEvent
	var replaced []string
	prefix := "rooms." + c.partOf(room) + "." + room + ".state."
	for _, msg := range newest {
		seq, ok := sourceSeq(msg.Header)
		switch {
		case ok && seq < before:
			state = append(state, StateEvent{Seq: seq, Data: msg.Data})
		default:
			replaced = append(replaced, prefix+strings.TrimPrefix(msg.Subject, "state."+room+"."))
		}
	}
	if replaced, err = c.withHistory(ctx, replaced, prefix+">"); err != nil {
		return nil, err
	}
	older, err := c.readLastBefore(ctx, replaced, before)
	if err != nil {
		return nil, err
	}
	unheard, err := c.readUnheard(ctx, prefix+">", heard, before)
	return slices.Concat(state, older, unheard), err
}

// withHistory returns those subjects of ROOMS, which all match filter, that hold
// more than one message: the others have none from before the one that is known.
// The server counts far faster than it looks for what was last at a time, and when
// many rooms are made at once there is nothing to look for.
func (c *Conn) withHistory(ctx context.Context, subjects []string, filter string) ([]string, error) {
	if len(subjects) == 0 {
		return nil, nil
	}
	info, err := c.rooms.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("count the events of a room: %w", err)
	}
	return slices.DeleteFunc(subjects, func(subject string) bool { return info.State.Subjects[subject] < 2 }), nil
}

// stateHeardOf returns a ROOMS sequence up to which ROOM_STATE knows all state
// events. It asks the server only if what it heard before is below enough.
func (c *Conn) stateHeardOf(ctx context.Context, enough uint64) (uint64, error) {
	for tries := 0; ; tries++ {
		heard := c.stateHeard.Load()
		if heard >= enough {
			return heard, nil
		}
		stream, err := c.js.Stream(ctx, streamRoomState)
		if err != nil {
			return 0, fmt.Errorf("look up stream %s: %w", streamRoomState, err)
		}
		last := stream.CachedInfo().State.LastSeq
		if last == 0 {
			return heard, nil
		}
		msg, err := stream.GetMsg(ctx, last)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			if tries < 3 {
				continue // replaced since
			}
			return heard, nil // removed by hand; ROOMS is asked for more than it need be
		}
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", streamRoomState, err)
		}
		if seq, ok := sourceSeq(msg.Header); ok {
			c.stateHeard.Store(seq)
			return seq, nil
		}
		return heard, nil
	}
}

// readUnheard reads the state events of a room from ROOMS that ROOM_STATE may
// not know yet.
func (c *Conn) readUnheard(ctx context.Context, filter string, heard, before uint64) ([]StateEvent, error) {
	var state []StateEvent
	if heard+1 >= before {
		return nil, nil
	}
	for msg, err := range c.readLog(ctx, streamRooms, filter, heard+1) {
		if err != nil {
			return nil, err
		}
		if msg.Sequence >= before {
			break
		}
		state = append(state, StateEvent{Seq: msg.Sequence, Data: msg.Data})
	}
	return state, nil
}

// maxLast is for how many subjects the server tells the last message at once.
const maxLast = 1024

// readLast returns the last message of each subject that matches filter. The
// server answers that from its index; with more subjects than it will tell at
// once, all messages are read instead.
func (c *Conn) readLast(ctx context.Context, stream, filter string) ([]*jetstream.RawStreamMsg, error) {
	page, err := c.readLastPage(ctx, stream, []string{filter}, 0)
	if err == nil || ctx.Err() != nil {
		return page, err
	}
	page = nil
	for msg, err := range c.readLog(ctx, stream, filter, 1) {
		if err != nil {
			return nil, err
		}
		page = append(page, msg)
	}
	return page, nil
}

// readLastBefore returns the last message of each of these subjects of ROOMS
// that stands before a sequence.
func (c *Conn) readLastBefore(ctx context.Context, subjects []string, before uint64) ([]StateEvent, error) {
	var state []StateEvent
	for some := range slices.Chunk(subjects, maxLast) {
		page, err := c.readLastPage(ctx, streamRooms, some, before-1)
		if err != nil {
			return nil, err
		}
		for _, msg := range page {
			state = append(state, StateEvent{Seq: msg.Sequence, Data: msg.Data})
		}
	}
	return state, nil
}

func (c *Conn) readLastPage(ctx context.Context, stream string, subjects []string, upTo uint64) ([]*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var opts []jetstreamext.GetLastForOpt
	if upTo > 0 {
		opts = append(opts, jetstreamext.GetLastMsgsUpToSeq(upTo))
	}
	msgs, err := jetstreamext.GetLastMsgsFor(ctx, c.js, stream, subjects, opts...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	var page []*jetstream.RawStreamMsg
	for msg, err := range msgs {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", stream, err)
		}
		page = append(page, msg)
	}
	if len(page) == 0 || page[len(page)-1].Header.Get(headerPending) != "0" {
		return nil, fmt.Errorf("read %s: %w", stream, errShortRead)
	}
	return page, nil
}

// sourceSeq returns the ROOMS sequence that a message of ROOM_STATE came from:
// the second word of its source header, after the stream's name.
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
