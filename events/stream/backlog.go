package stream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"poked/events"
)

// BacklogRecord is the entry of one pusher in BACKLOG: a [Register] that only the owner
// of its partition writes. A [ConflictError] means that the partition has another owner.
type BacklogRecord struct{ register *Register }

// BacklogRecord returns the record of a pusher, written under the name of a worker.
// revision is the one at which the record was read, or 0 if there was none.
func (c *Conn) BacklogRecord(worker string, id events.PusherID, user events.UserID, revision uint64) *BacklogRecord {
	key := c.topology.partOf(events.Token(user)) + "." + string(id)
	return &BacklogRecord{c.Register(bucketBacklog, key, worker, revision)}
}

// Put stores the backlog of a lagging pusher; see [Register.Put].
func (r *BacklogRecord) Put(b events.Backlog, done func(error)) {
	value, err := json.Marshal(b)
	if err != nil { // only a time out of range
		time.AfterFunc(0, func() { done(fmt.Errorf("encode backlog: %w", err)) })
		return
	}
	r.register.Put(value, done)
}

// Delete removes the entry of a pusher that has caught up or is gone; see
// [Register.Delete].
func (r *BacklogRecord) Delete(done func(error)) { r.register.Delete(done) }

// Exists reports whether the bucket may have an entry; see [Register.Exists].
func (r *BacklogRecord) Exists() bool { return r.register.Exists() }

// Adopt is [Register.Adopt].
func (r *BacklogRecord) Adopt(conflict *ConflictError) { r.register.Adopt(conflict) }

// DropBacklog deletes an unreadable entry of a pusher that is gone, unless it has changed
// since this revision.
func (c *Conn) DropBacklog(part int, id events.PusherID, revision uint64, done func(error)) {
	c.Register(bucketBacklog, strconv.Itoa(part)+"."+string(id), rand.Text(), revision).Delete(done)
}

// unreadableBacklog is an entry that cannot be read, and the reason.
type unreadableBacklog struct {
	entry  entry
	reason error
}

// LoadBacklog returns the lagging pushers of one partition. An entry that cannot be read
// is kept as a dead letter and returned as Lost.
func (c *Conn) LoadBacklog(ctx context.Context, part int) (map[events.PusherID]events.Backlog, error) {
	r, err := c.readBucket(ctx, bucketBacklog, strconv.Itoa(part)+".*")
	if err != nil {
		return nil, err
	}
	defer r.end()
	lagging := map[events.PusherID]events.Backlog{}
	bad := map[string]unreadableBacklog{}
	err = r.load(ctx, func(e entry) (more bool) {
		_, id, _ := strings.Cut(e.key, ".")
		delete(lagging, events.PusherID(id))
		delete(bad, e.key)
		if e.deleted {
			return true
		}
		b, err := c.parseBacklog(e.value, part)
		if err != nil {
			bad[e.key] = unreadableBacklog{entry: e, reason: err}
		}
		b.Revision = e.revision
		lagging[events.PusherID(id)] = b
		return true
	})
	for key, b := range bad {
		c.NoteUnreadable(bucketBacklog, key, b.entry.revision, b.reason)
		if err == nil {
			err = c.KeepUnreadable(ctx, bucketBacklog, key, b.entry.value, b.reason)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("load backlog: %w", err)
	}
	return lagging, nil
}

// parseBacklog parses an entry of a partition.
func (c *Conn) parseBacklog(raw []byte, part int) (events.Backlog, error) {
	var b events.Backlog
	if err := json.Unmarshal(raw, &b); err != nil {
		return events.Backlog{Lost: true}, fmt.Errorf("decode backlog: %w", err)
	}
	if !events.IsID(b.UserID) || c.topology.partOf(events.Token(b.UserID)) != strconv.Itoa(part) {
		return events.Backlog{Lost: true}, errors.New("decode backlog: user_id is missing or of another partition")
	}
	return b, nil
}
