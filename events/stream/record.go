package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Record is the last known state of a key of a bucket.
type Record struct {
	Value    string
	Revision uint64 // 0 if the key never existed
	There    bool   // the key has a value; false if it was deleted

	writer string // name of the writer, if the message has one; see [Register]
}

// ReadRecord returns the state of a key according to the bucket's leader; any other
// replica may be behind.
func (c *Conn) ReadRecord(ctx context.Context, bucket, key string) (Record, error) {
	msg, err := c.AskLeader(ctx, "KV_"+bucket, Query{Last: kvSubject(bucket, key)})
	switch {
	case err != nil:
		return Record{}, fmt.Errorf("read %s of %s: %w", key, bucket, err)
	case msg == nil:
		return Record{}, nil
	}
	return recordOf(msg), nil
}

// recordOf returns the state of a key after its last message.
func recordOf(msg *jetstream.RawStreamMsg) Record {
	return Record{
		Value: string(msg.Data), Revision: msg.Sequence, There: !isDeletion(msg.Header), writer: msg.Header.Get(headerWriter),
	}
}
