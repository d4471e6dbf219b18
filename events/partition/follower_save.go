package partition

import (
	"context"
	"fmt"

	"poked/events/stream"
)

// isPosition reports whether a record is a position that a worker can have written.
func isPosition(r stream.Record) bool {
	_, err := parsePosition([]byte(r.Value))
	return r.There && err == nil
}

// disturbedBy returns the error for a partition of which another worker wrote a record.
// The position says whose the partition is.
func (f *Follower) disturbedBy(ctx context.Context, conflict *stream.ConflictError) error {
	if pos, err := readPosition(ctx, f.conn, f.stage, f.part); err == nil && pos.Owner == f.owner {
		return fmt.Errorf("%s partition %d: %w: %w", f.stage.Name, f.part, ErrDisturbed, conflict)
	}
	return f.fencedBy(conflict)
}

// fencedBy returns the error for a partition that another worker has taken over.
func (f *Follower) fencedBy(conflict *stream.ConflictError) error {
	return fmt.Errorf("%s partition %d: %w: %w", f.stage.Name, f.part, ErrFenced, conflict)
}
