package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"poked/events"
)

// The bucket INBOX holds what users have not read, as snapshots that the owner of their
// partition writes: <part>.<user>.<room>, and up to where the snapshots go: position.<part>.
// Both stand in one stream, so that a write of keys names the revision of the position
// that it replaces, and a worker that has lost the partition can write none.

// InboxBatch is how many keys one write of an [Inbox] may have: the server takes 1000
// messages, of which the last is the position.
const InboxBatch = 999

// inboxBatches bounds the writes that one process has in flight. A server takes 50 at a time
// for the whole stream, and a process that stops begins one for each of its partitions.
const inboxBatches = 8

// Inbox reads and writes the snapshots of one partition, for its owner. One goroutine at a
// time uses it for writing.
type Inbox struct {
	conn     *Conn
	part     int
	position *Register
	stored   atomic.Uint64 // revision of the position as of the last write that had an answer
}

// Inbox returns the snapshots of a partition, and the value of the position; it is empty if
// there is none. What it writes carries the name of the worker.
func (c *Conn) Inbox(ctx context.Context, part int, worker string) (in *Inbox, position Record, err error) {
	key := "position." + strconv.Itoa(part)
	position, err = c.ReadRecord(ctx, bucketInbox, key)
	if err != nil {
		return nil, Record{}, err
	}
	in = &Inbox{conn: c, part: part, position: c.Register(bucketInbox, key, worker, position.Revision)}
	return in, position, nil
}

// Claim writes the position alone. From then on no other worker can write anything that it
// began before. Errors are those of [Register.Set].
func (in *Inbox) Claim(ctx context.Context, position []byte) error {
	if err := in.position.Set(ctx, position); err != nil {
		return err
	}
	in.stored.Store(in.position.last.Revision)
	return nil
}

// InboxValue is the new value of a key of INBOX.
type InboxValue struct {
	User  events.UserID
	Room  events.RoomID
	Value []byte
}

// Write stores at most [InboxBatch] values together with the position: either all of them
// or none. A [ConflictError] means that another worker has written the position, or that
// the bucket has lost what was stored last: the work has to begin again from what is there.
// After any other error the values may have been stored; to write them again does no harm.
// One such error is that all processes together have more writes in flight than the server
// takes.
func (in *Inbox) Write(ctx context.Context, values []InboxValue, position []byte) error {
	select {
	case in.conn.batches <- struct{}{}:
		defer func() { <-in.conn.batches }()
	case <-ctx.Done():
		return ctx.Err()
	}
	r := in.position
	if r.doubt { // a write without an answer may have been stored
		if err := in.settle(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	batch, err := jetstreamext.NewBatchPublisher(in.conn.js, jetstreamext.BatchFlowControl{})
	if err != nil {
		return fmt.Errorf("write %s: %w", bucketInbox, err)
	}
	for i := range values {
		v := &values[i]
		if err := batch.AddMsg(&nats.Msg{Subject: kvSubject(bucketInbox, in.key(v)), Data: v.Value}); err != nil {
			return fmt.Errorf("write %s: %w", bucketInbox, err)
		}
	}
	ack, err := batch.CommitMsg(ctx, &nats.Msg{
		Subject: kvSubject(bucketInbox, r.key), Data: position,
		Header: nats.Header{
			jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(r.last.Revision, 10)},
			headerWriter:                        {r.writer},
		},
	})
	if err != nil {
		if r.doubt = true; IsWrongLast(err) {
			if err := in.settle(ctx); err != nil {
				return err
			}
		}
		return fmt.Errorf("write %s: %w", bucketInbox, err)
	}
	r.last = Record{Value: string(position), Revision: ack.Sequence, There: true, writer: r.writer}
	in.stored.Store(ack.Sequence)
	return nil
}

// settle finds out what became of a write without an answer.
func (in *Inbox) settle(ctx context.Context) error {
	r := in.position
	found, err := in.conn.ReadRecord(ctx, bucketInbox, r.key)
	if err != nil {
		return err
	}
	if !found.There || found.writer != r.writer || found.Revision < in.stored.Load() {
		return &ConflictError{Bucket: bucketInbox, Key: r.key, Found: found}
	}
	r.last, r.doubt = found, false
	return nil
}

// key returns the key of a user's room.
func (in *Inbox) key(v *InboxValue) string {
	return strconv.Itoa(in.part) + "." + events.Token(v.User) + "." + events.Token(v.Room)
}

// Load returns the stored values of all rooms of some users: everything that the worker has
// written, and those before it. It may be called at any time.
func (in *Inbox) Load(ctx context.Context, users []events.UserID) ([]InboxValue, error) {
	revision := in.stored.Load()
	filters := []string{kvSubject(bucketInbox, "position."+strconv.Itoa(in.part))} // there is one, so the server says how much it knows
	for _, user := range users {
		filters = append(filters, in.keysOf(user))
	}
	page, heard, err := in.conn.ReadNewest(ctx, bucketStream(bucketInbox), Newest{Filters: filters})
	switch {
	case errors.Is(err, ErrTooMany) && len(users) > 1:
		half := len(users) / 2
		first, err := in.Load(ctx, users[:half])
		if err != nil {
			return nil, err
		}
		second, err := in.Load(ctx, users[half:])
		return append(first, second...), err
	case errors.Is(err, ErrTooMany):
		return in.loadOne(ctx, users[0])
	case err != nil:
		return nil, err
	case heard < revision || len(page) == 0:
		return nil, fmt.Errorf("read %s: %w", bucketInbox, ErrBehind)
	}
	values := make([]InboxValue, 0, len(page))
	for _, msg := range page {
		if v, ok := inboxValue(msg.Subject, msg.Data); ok && !isDeletion(msg.Header) {
			values = append(values, v)
		}
	}
	return values, nil
}

// loadOne returns the stored values of a user whose rooms do not fit one answer.
func (in *Inbox) loadOne(ctx context.Context, user events.UserID) ([]InboxValue, error) {
	last := map[events.RoomID]InboxValue{}
	for msg, err := range in.conn.Pass(ctx, bucketStream(bucketInbox), in.keysOf(user), 1) {
		if err != nil {
			return nil, err
		}
		if v, ok := inboxValue(msg.Subject, msg.Data); ok {
			last[v.Room] = v
		}
	}
	values := make([]InboxValue, 0, len(last))
	for _, v := range last {
		values = append(values, v)
	}
	return values, nil
}

// keysOf returns the subject filter of a user's keys.
func (in *Inbox) keysOf(user events.UserID) string {
	return kvSubject(bucketInbox, strconv.Itoa(in.part)+"."+events.Token(user)+".*")
}

// inboxValue returns the value of a key. ok is false for a key that is no user's.
func inboxValue(subject string, value []byte) (v InboxValue, ok bool) {
	tokens := strings.Split(keyOf(subject), ".")
	if len(tokens) != 3 {
		return v, false
	}
	user, err := events.ParseToken[events.UserID](tokens[1])
	if err != nil {
		return v, false
	}
	room, err := events.ParseToken[events.RoomID](tokens[2])
	return InboxValue{User: user, Room: room, Value: value}, err == nil
}

// KeepBad counts and logs an unreadable value, and keeps it as a dead letter: the next write
// replaces it.
func (in *Inbox) KeepBad(ctx context.Context, v *InboxValue, reason error) error {
	return in.keepBad(ctx, in.key(v), 0, v.Value, reason)
}

// KeepBadPosition is KeepBad for the position.
func (in *Inbox) KeepBadPosition(ctx context.Context, position Record, reason error) error {
	return in.keepBad(ctx, in.position.key, position.Revision, []byte(position.Value), reason)
}

func (in *Inbox) keepBad(ctx context.Context, key string, revision uint64, value []byte, reason error) error {
	in.conn.NoteUnreadable(bucketInbox, key, revision, reason)
	return in.conn.KeepUnreadable(ctx, bucketInbox, key, value, reason)
}
