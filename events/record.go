package events

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// record is a key of a bucket as it was last known.
type record struct {
	value    string
	revision uint64 // 0 if there never was one
	there    bool   // false also for one that was deleted
	writer   string // who wrote it, if they said so; see [Register]
	heard    time.Time
}

// readRecord asks the leader of a bucket for a key: any other replica may be
// behind.
func (c *Conn) readRecord(ctx context.Context, bucket, key string) (record, error) {
	msg, err := c.askLeader(ctx, "KV_"+bucket, query{Last: kvSubject(bucket, key)})
	switch {
	case err != nil:
		return record{}, fmt.Errorf("read %s of %s: %w", key, bucket, err)
	case msg == nil:
		return record{}, nil
	}
	return recordOf(msg), nil
}

// recordOf returns a key as its last message tells.
func recordOf(msg *jetstream.RawStreamMsg) record {
	return record{
		value: string(msg.Data), revision: msg.Sequence, there: !isDeletion(msg.Header), writer: msg.Header.Get(headerWriter),
	}
}

// ownerKey is where in POSITIONS it stands whose a partition is.
func ownerKey(part int) string { return "part." + strconv.Itoa(part) }
