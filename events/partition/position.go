package partition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"poked/events/stream"
)

// Position is how far one partition of a stage is processed, as the POSITIONS bucket
// keeps it under <stage>.<part>: every message of the partition up to and including
// sequence Next is done, except those in Open.
type Position struct {
	Next uint64   `json:"next"`
	Open []uint64 `json:"open,omitempty"`
	// At is when the message Next was stored: one that has its sequence and another time is
	// another message. It is zero if that is not known.
	At time.Time `json:"at,omitzero"`
	// Wrote are those of Open that wait for another message, after everything was stored
	// that they cause until then.
	Wrote []uint64 `json:"wrote,omitempty"`
	// Log is a place in NOTIFICATIONS: everything that the messages in Open, without
	// those in Wrote, and the messages after Next have caused is after it. A stage that
	// writes no notifications has none.
	Log stream.LogMark `json:"log,omitzero"`
	// Parts says of messages in Open which of their users are done: a bit for each, by index,
	// the lowest bit of the first byte first.
	Parts map[uint64][]byte `json:"parts,omitempty"`
	// Owner is the worker that wrote the position. It lets a worker recognize its own
	// write whose answer was lost.
	Owner string `json:"owner"`
	// Stream is when the stream of these sequences was made.
	Stream time.Time `json:"stream"`

	revision uint64 // of the key; 0 while it does not exist
	lost     bool   // the stored position was deleted or is unreadable
	lostEnd  bool   // the stream has lost its end since the position was stored
	lastSeq  uint64 // of the stream, when the position was read
}

// ErrFenced is wrapped by the error when another worker has taken over the partition.
var ErrFenced = errors.New("another worker has taken over the partition")

// ErrDisturbed reports that a worker that no longer owns the partition wrote one of its
// records. The work begins again from what is stored.
var ErrDisturbed = errors.New("a worker that no longer owns the partition wrote a record of it")

func positionKey(stage Stage, part int) string {
	return stage.Name + "." + strconv.Itoa(part)
}

// loadPosition reads a partition's position. If the stream was made anew since, or the
// position cannot be read, the partition is processed from the start. If the stream has lost
// its end since, as after a power cut, it gives the sequences of what it lost to new messages,
// which are processed next: see [Position.cut].
func loadPosition(ctx context.Context, c *stream.Conn, stage Stage, part int) (Position, error) {
	pos, err := readPosition(ctx, c, stage, part)
	if err != nil {
		return Position{}, err
	}
	name := c.Topology().StreamOf(stage.stream, part)
	made, lastSeq, err := c.StreamEnd(ctx, name)
	if err != nil {
		return Position{}, err
	}
	pos.lastSeq = lastSeq
	found, err := time.Time{}, error(nil)
	if pos.Next <= lastSeq && !pos.At.IsZero() && pos.Stream.Equal(made) {
		if found, err = c.LoggedAt(ctx, name, pos.Next); err != nil {
			return Position{}, err
		}
	}
	log := c.Log().With("stream", name, "part", part, "position", pos.Next, "last_seq", pos.lastSeq)
	switch {
	case pos.revision == 0 || pos.lost:
	case !pos.Stream.Equal(made):
		log.Warn("the stream was made anew, starting over")
		pos.Next, pos.At, pos.Open, pos.Wrote, pos.Parts = 0, time.Time{}, nil, nil, nil
	case pos.Next > pos.lastSeq, !found.IsZero() && !found.Equal(pos.At):
		if err := pos.cut(ctx, c, name, fmt.Sprintf(stage.filter, strconv.Itoa(part))); err != nil {
			return Position{}, err
		}
		log.Warn("the stream has lost its end, going on from what is left", "kept", pos.Next)
	}
	pos.Stream = made
	return pos, nil
}

// cut moves the position back to the last message that the stream has not lost. What it has in
// place of others was stored after all that was processed: the first such message is the first
// that is newer than the newest of these. If it is not known when that was stored, none of the
// messages that the stream has counts as new.
func (p *Position) cut(ctx context.Context, c *stream.Conn, name, filter string) error {
	last := min(p.Next, p.lastSeq)
	if !p.At.IsZero() {
		first, err := c.FirstAfter(ctx, name, filter, p.At)
		if err != nil {
			return err
		}
		if first > 0 {
			last = min(last, first-1)
		}
	}
	lost := func(seq uint64) bool { return seq > last }
	p.Next, p.At, p.lostEnd = last, time.Time{}, true
	p.Open, p.Wrote = slices.DeleteFunc(p.Open, lost), slices.DeleteFunc(p.Wrote, lost)
	maps.DeleteFunc(p.Parts, func(seq uint64, _ []byte) bool { return lost(seq) })
	return nil
}

// readPosition reads a partition's position from the leader. If it was deleted or cannot
// be read it is lost: the work begins with the first message of the stream, and any of
// them may have been handled before. An unreadable position is kept as a dead letter,
// since the next write replaces it.
func readPosition(ctx context.Context, c *stream.Conn, stage Stage, part int) (Position, error) {
	key := positionKey(stage, part)
	last, err := c.ReadRecord(ctx, stream.BucketPositions, key)
	if err != nil || last.Revision == 0 {
		return Position{}, err
	}
	lost := Position{revision: last.Revision, lost: true}
	if !last.There {
		c.Log().Error("position was deleted, starting over", "stage", stage.Name, "part", part)
		return lost, nil
	}
	pos, err := parsePosition([]byte(last.Value))
	if err != nil {
		c.NoteUnreadable(stream.BucketPositions, key, last.Revision, err)
		return lost, c.KeepUnreadable(ctx, stream.BucketPositions, key, []byte(last.Value), err)
	}
	pos.revision = last.Revision
	return pos, nil
}

// IsDone reports whether everything that a message causes is done, according to the stored
// position of its partition.
func IsDone(ctx context.Context, c *stream.Conn, stage Stage, part int, seq uint64) (bool, error) {
	last, err := c.ReadRecord(ctx, stream.BucketPositions, positionKey(stage, part))
	if err != nil || !last.There {
		return false, err
	}
	pos, err := parsePosition([]byte(last.Value))
	if err != nil {
		return false, err
	}
	_, open := slices.BinarySearch(pos.Open, seq)
	return seq <= pos.Next && !open, nil
}

// parsePosition reads a position and checks that a worker can have written it.
func parsePosition(raw []byte) (pos Position, err error) {
	if err := json.Unmarshal(raw, &pos); err != nil {
		return Position{}, fmt.Errorf("decode position: %w", err)
	}
	if pos.Stream.IsZero() || !isWorkerName(pos.Owner) {
		return Position{}, errors.New("decode position: stream or owner is missing")
	}
	last := uint64(0)
	for _, seq := range pos.Open {
		if seq <= last || seq > pos.Next {
			return Position{}, errors.New("decode position: open is not in order")
		}
		last = seq
	}
	for seq := range pos.Parts {
		if _, open := slices.BinarySearch(pos.Open, seq); !open {
			return Position{}, errors.New("decode position: parts names a message that is not open")
		}
	}
	if !slices.IsSorted(pos.Wrote) {
		return Position{}, errors.New("decode position: wrote is not in order")
	}
	return pos, nil
}

// ownerKey returns the key in POSITIONS of a partition's owner.
func ownerKey(part int) string { return "part." + strconv.Itoa(part) }
