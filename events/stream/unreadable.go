package stream

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"poked/events"
)

// maxUnreadable limits how many unreadable values are remembered. Beyond it some are
// counted and logged again each time they are read.
const maxUnreadable = 1024

// unreadables counts unreadable messages and values in streams and buckets, each once,
// however often it is read. The zero value is ready to use.
type unreadables struct {
	mu    sync.Mutex
	count map[string]uint64 // by stream
	seen  map[string]uint64 // by stream and subject: the last sequence that was counted
}

// add counts a value and reports whether it is new.
func (u *unreadables) add(stream, subject string, seq uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.count == nil {
		u.count, u.seen = map[string]uint64{}, map[string]uint64{}
	}
	at := stream + " " + subject
	if known, ok := u.seen[at]; ok && known == seq {
		return false
	}
	if len(u.seen) >= maxUnreadable {
		clear(u.seen)
	}
	u.seen[at] = seq
	u.count[stream]++
	return true
}

// Unreadable returns how many unreadable messages and values this connection has met, by
// stream; a bucket's stream is KV_ and its name.
func (c *Conn) Unreadable() map[string]uint64 {
	c.unreadables.mu.Lock()
	defer c.unreadables.mu.Unlock()
	return maps.Clone(c.unreadables.count)
}

// NoteUnreadable counts and logs an unreadable value of a bucket, once for each revision.
// The reader of the bucket goes on: one bad value affects only its own key.
func (c *Conn) NoteUnreadable(bucket, key string, revision uint64, err error) {
	if c.unreadables.add(bucketStream(bucket), key, revision) {
		c.log.Error("unreadable value in a bucket", "bucket", bucket, "key", key, "revision", revision, "error", err)
	}
}

// KeepUnreadable stores an unreadable value, which is about to be overwritten, as a dead
// letter. It returns when the letter is stored.
func (c *Conn) KeepUnreadable(ctx context.Context, bucket, key string, value []byte, reason error) error {
	kept := make(chan error, 1)
	c.PublishDead(events.DeadLetter{
		Reason: events.DeadBadValue, Detail: reason.Error(), At: time.Now(), Subject: kvSubject(bucket, key), Message: value,
	}, func(err error) { kept <- err })
	var err error
	select {
	case err = <-kept:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("keep unreadable value %s of bucket %s: %w", key, bucket, err)
	}
	return nil
}
