package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Record is a key of a bucket as it was last known.
type Record struct {
	Value    string
	Revision uint64 // 0 if there never was one
	There    bool   // false also for one that was deleted

	writer string // who wrote it, if they said so; see [Register]
}

// ReadRecord asks the leader of a bucket for a key: any other replica may be
// behind.
func (c *Conn) ReadRecord(ctx context.Context, bucket, key string) (Record, error) {
	msg, err := c.askLeader(ctx, "KV_"+bucket, query{Last: kvSubject(bucket, key)})
	switch {
	case err != nil:
		return Record{}, fmt.Errorf("read %s of %s: %w", key, bucket, err)
	case msg == nil:
		return Record{}, nil
	}
	return recordOf(msg), nil
}

// recordOf returns a key as its last message tells.
func recordOf(msg *jetstream.RawStreamMsg) Record {
	return Record{
		Value: string(msg.Data), Revision: msg.Sequence, There: !isDeletion(msg.Header), writer: msg.Header.Get(headerWriter),
	}
}
