package partition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"poked/events/stream"
)

// Position is how far one partition of a stage has been worked through, as the
// POSITIONS bucket keeps it under <stage>.<part>: every message of the
// partition up to and including sequence Next is done, except those in Open.
type Position struct {
	Next uint64   `json:"next"`
	Open []uint64 `json:"open,omitempty"`
	// Owner is the worker that wrote it, so that a worker whose write was
	// stored without its hearing of it recognizes its own.
	Owner string `json:"owner"`
	// Clean says that the worker ended in peace: nothing was taken since that this
	// position does not know of.
	Clean bool `json:"clean,omitempty"`
	// Stream is when the stream was made whose sequences these are.
	Stream time.Time `json:"stream"`

	revision uint64 // of the key; 0 while it does not exist
	lost     bool   // something stood there that is gone or cannot be read
	lastSeq  uint64 // of the stream, when the position was read
}

// ErrFenced says that another worker has taken over the partition.
var ErrFenced = errors.New("another worker has taken over the partition")

func positionKey(stage Stage, part int) string {
	return stage.Name + "." + strconv.Itoa(part)
}

// loadPosition reads a partition's position. If the stream has been made anew
// since, its sequences begin at 1 again and the position means nothing: the
// partition is then worked through from the start, as it is if the position cannot be
// read. If the stream only ends
// before the position, as after a power cut that took its last moments, the new
// messages that take those sequences are the next to be worked through.
func loadPosition(ctx context.Context, c *stream.Conn, stage Stage, part int) (Position, error) {
	pos, err := readPosition(ctx, c, stage, part)
	if err != nil {
		return Position{}, err
	}
	made, lastSeq, err := c.StreamEnd(ctx, stage.stream)
	if err != nil {
		return Position{}, err
	}
	pos.lastSeq = lastSeq
	log := c.Log().With("stream", stage.stream, "part", part, "position", pos.Next, "last_seq", pos.lastSeq)
	switch {
	case pos.revision == 0 || pos.lost:
	case !pos.Stream.Equal(made):
		log.Warn("the stream was made anew, starting over")
		pos.Next, pos.Open = 0, nil
	case pos.Next > pos.lastSeq:
		log.Warn("the stream has lost its end, going on from what is left")
		pos.Next = pos.lastSeq
		pos.Open = slices.DeleteFunc(pos.Open, func(seq uint64) bool { return seq > pos.lastSeq })
	}
	pos.Stream = made
	return pos, nil
}

// readPosition reads a partition's position as the leader knows it. One that was
// deleted or cannot be read is lost: the work begins with the first message that the
// stream still has, and any of them may have been handled before. What cannot be read
// is kept as a dead letter first, for the next position overwrites it.
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
	return pos, nil
}

// encode returns the position as POSITIONS keeps it.
func (p Position) encode() []byte {
	value, err := json.Marshal(p)
	if err != nil { // only a time out of range, which no server has given
		return nil
	}
	return value
}

// ownerKey is where in POSITIONS it stands whose a partition is.
func ownerKey(part int) string { return "part." + strconv.Itoa(part) }
