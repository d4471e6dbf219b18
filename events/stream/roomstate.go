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
	"golang.org/x/sync/errgroup"

	"poked/events"
)

// StateEvent is one event of a room's state.
type StateEvent struct {
	Seq     uint64 // in ROOMS
	Subject string // on which it was published
	Data    []byte // for ParsePublished
}

// RoomState yields the state events that make up a room's state as it was just
// before the ROOMS sequence before: a later event of the same type and state
// key replaces an earlier one.
//
// ROOM_STATE alone does not tell that. It keeps the newest event of each kind,
// which may be from after before: then ROOMS is asked for the one it replaced,
// and only if that is older than what ROOMS keeps (72 h) it is missing. And it
// is filled a moment after ROOMS: what it has not heard of yet is read there.
func (c *Conn) RoomState(ctx context.Context, room events.RoomID, before uint64) iter.Seq2[StateEvent, error] {
	return func(yield func(StateEvent, error) bool) {
		if before <= 1 {
			return
		}
		state, err := c.roomState(ctx, events.Token(room), before)
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
	known, err := c.stateHeardOf(ctx, before-1)
	if err != nil {
		return nil, err
	}
	last, heard, err := c.readLast(ctx, streamRoomState, "state."+room+".>")
	if err == nil && heard < known.seq {
		err = fmt.Errorf("read %s: %w", streamRoomState, errBehind)
	}
	if err != nil {
		return nil, err
	}
	var state []StateEvent
	var replaced []string
	prefix := "rooms." + c.partOf(room) + "." + room + ".state."
	for _, msg := range last {
		subject := prefix + strings.TrimPrefix(msg.Subject, "state."+room+".") // in ROOMS
		seq, ok := sourceSeq(msg.Header)
		switch {
		case ok && seq < before:
			state = append(state, StateEvent{Seq: seq, Subject: events.PublishedAs(subject), Data: msg.Data})
		default:
			replaced = append(replaced, subject)
		}
	}
	if replaced, err = c.withHistory(ctx, replaced, prefix+">"); err != nil {
		return nil, err
	}
	older, err := c.readLastBefore(ctx, replaced, before)
	if err != nil {
		return nil, err
	}
	unheard, err := c.readUnheard(ctx, prefix+">", known.source, before)
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

// stateHeard says that ROOM_STATE knew all state events up to a sequence of ROOMS
// when it had got as far as seq.
type stateHeard struct {
	seq    uint64
	source uint64 // in ROOMS
}

// stateHeardOf returns how far ROOM_STATE has got. It asks the server only if what
// it heard before is below enough.
func (c *Conn) stateHeardOf(ctx context.Context, enough uint64) (stateHeard, error) {
	for tries := 0; ; tries++ {
		var known stateHeard
		heard := c.stateHeard.Load()
		if heard != nil {
			known = *heard
		}
		if known.source >= enough {
			return known, nil
		}
		stream, err := c.js.Stream(ctx, streamRoomState)
		if err != nil {
			return known, fmt.Errorf("look up stream %s: %w", streamRoomState, err)
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
			return known, nil // removed by hand; ROOMS is asked for more than it need be
		}
		if err != nil {
			return known, fmt.Errorf("read %s: %w", streamRoomState, err)
		}
		if source, ok := sourceSeq(msg.Header); ok {
			known = stateHeard{seq: last, source: source}
			c.stateHeard.CompareAndSwap(heard, &known) // unless it was made anew meanwhile
		}
		return known, nil
	}
}

// readUnheard reads the state events of a room from ROOMS that ROOM_STATE may
// not know yet.
func (c *Conn) readUnheard(ctx context.Context, filter string, heard, before uint64) ([]StateEvent, error) {
	var state []StateEvent
	if heard+1 >= before {
		return nil, nil
	}
	for msg, err := range c.readStored(ctx, Rooms, filter, heard+1) {
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

// readLast returns the last message of each subject that matches filter, and up to
// which sequence whoever answered looked: what was asked of the leader reaches to the
// end.
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
	// maxLast is for how many subjects the server tells the last message at once.
	maxLast = 1024
	// checksAtOnce is how many of them the leader is asked about at the same time.
	checksAtOnce = 16
)

// readLastBefore returns the last message of each of these subjects of ROOMS
// that stands before a sequence. Each has a later one.
func (c *Conn) readLastBefore(ctx context.Context, subjects []string, before uint64) ([]StateEvent, error) {
	var state []StateEvent
	for some := range slices.Chunk(subjects, maxLast) {
		last, _, err := c.readNewest(ctx, Rooms, newest{Filters: some, UpTo: before - 1})
		if err != nil {
			return nil, err
		}
		if err := c.checkLastBefore(ctx, some, last, before); err != nil {
			return nil, err
		}
		for _, msg := range last {
			state = append(state, StateEvent{Seq: msg.Sequence, Subject: events.PublishedAs(msg.Subject), Data: msg.Data})
		}
	}
	return state, nil
}

// checkLastBefore asks the leader whether what a replica knows of these subjects is
// what stands last before a sequence.
func (c *Conn) checkLastBefore(ctx context.Context, subjects []string, last []*jetstream.RawStreamMsg, before uint64) error {
	after := make(map[string]uint64, len(last))
	for _, msg := range last {
		after[msg.Subject] = msg.Sequence
	}
	checks, ctx := errgroup.WithContext(ctx)
	checks.SetLimit(checksAtOnce)
	for _, subject := range subjects {
		checks.Go(func() error {
			next, err := c.askLeader(ctx, Rooms, query{Next: subject, From: after[subject] + 1})
			if err == nil && next != nil && next.Sequence < before {
				err = fmt.Errorf("read %s: %w", Rooms, errBehind)
			}
			return err
		})
	}
	return checks.Wait()
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
