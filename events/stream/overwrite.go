package stream

import (
	"context"
	"errors"
)

// overwrite makes a key of a bucket have a value, or none if value is nil, whatever others have
// written. It returns nil only when the bucket says so.
func (c *Conn) overwrite(ctx context.Context, bucket, key string, value []byte) error {
	found, err := c.ReadRecord(ctx, bucket, key)
	if err != nil {
		return err
	}
	r := c.Register(bucket, key, c.writerName, found.Revision)
	r.last = found
	for range maxWrites {
		last := r.Last()
		switch {
		case last.There == (value != nil) && (value == nil || last.Value == string(value)):
			return nil
		case value != nil:
			err = r.Set(ctx, value)
		default:
			err = r.Clear(ctx)
		}
		var conflict *ConflictError
		if !errors.As(err, &conflict) {
			break
		}
		r.Adopt(conflict)
	}
	return err
}
