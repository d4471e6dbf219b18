package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Backlog is what is known of a pusher that lags: where it stands in its
// user's notifications, and how it came to stand there. It is the value of
// <part>.<pusher> in the BACKLOG bucket.
type Backlog struct {
	UserID   UserID `json:"user_id"`
	Position uint64 `json:"position"` // newest NOTIFICATIONS sequence that it was told or has passed
	Attempts int    `json:"attempts"` // failed in a row
	// Alone is how many of Attempts were made while the gateway was not down.
	Alone     int       `json:"alone,omitempty"`
	Since     time.Time `json:"since"`      // when it began to lag
	NextTry   time.Time `json:"next_try"`   // not before
	LastError string    `json:"last_error"` // class of the last failure
	// PausedUntil is until when the gateway asked to be left alone.
	PausedUntil time.Time `json:"paused_until,omitzero"`
	// PassedOver is how many notifications it was not told because newer ones of
	// the same room were.
	PassedOver uint64 `json:"passed_over,omitempty"`
	// Badge says that the pusher has yet to be told how much is unread, when it has
	// been told everything else.
	Badge bool `json:"badge,omitempty"`

	Revision uint64 `json:"-"` // of the entry, as it was read
	// Lost says that the entry could not be read: of the pusher nothing is known but
	// that it lagged.
	Lost bool `json:"-"`
}

// PutBacklog writes a lagging pusher down. done is called once, with the revision
// of the entry, and must not block.
func (c *Conn) PutBacklog(id PusherID, b Backlog, done func(revision uint64, err error)) {
	value, err := json.Marshal(b)
	if err != nil { // only a time out of range
		done(0, fmt.Errorf("encode backlog: %w", err))
		return
	}
	c.writeBacklog(id, b.UserID, nil, value, done)
}

// DeleteBacklog forgets a pusher that has caught up or is gone, if its entry has
// still the revision that was written last: not what a successor of a worker that
// was held up has written since. Revision 0 is whatever there is.
func (c *Conn) DeleteBacklog(id PusherID, user UserID, revision uint64, done func(revision uint64, err error)) {
	header := purgeHeader()
	if revision > 0 {
		header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	}
	c.writeBacklog(id, user, header, nil, done)
}

// purgeHeader is the header of a message that deletes an entry and leaves nothing
// behind.
func purgeHeader() nats.Header {
	return nats.Header{
		headerOperation: []string{"PURGE"}, jetstream.MsgRollup: []string{jetstream.MsgRollupSubject},
		jetstream.MsgTTLHeader: []string{markerTTL.String()},
	}
}

func (c *Conn) writeBacklog(id PusherID, user UserID, header nats.Header, value []byte, done func(uint64, error)) {
	c.writeKey(bucketBacklog, c.partOf(Token(user))+"."+string(id), header, value, done)
}

// DropBacklog forgets an entry that could not be read, of a pusher that is gone, if it
// has still the revision that it was read at.
func (c *Conn) DropBacklog(part int, id PusherID, revision uint64, done func(error)) {
	header := purgeHeader()
	header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	c.writeKey(bucketBacklog, strconv.Itoa(part)+"."+string(id), header, nil, func(_ uint64, err error) { done(err) })
}

// unreadableBacklog is an entry that cannot be read, and why not.
type unreadableBacklog struct {
	entry  entry
	reason error
}

// LoadBacklog returns the lagging pushers of one partition. An entry that cannot be
// read is kept as a dead letter and comes as Lost.
func (c *Conn) LoadBacklog(ctx context.Context, part int) (map[PusherID]Backlog, error) {
	r, err := c.readBucket(ctx, bucketBacklog, strconv.Itoa(part)+".*")
	if err != nil {
		return nil, err
	}
	defer r.end()
	lagging := map[PusherID]Backlog{}
	bad := map[string]unreadableBacklog{}
	err = r.load(ctx, func(e entry) (more bool) {
		_, id, _ := strings.Cut(e.key, ".")
		delete(lagging, PusherID(id))
		delete(bad, e.key)
		if e.deleted {
			return true
		}
		b, err := c.parseBacklog(e.value, part)
		if err != nil {
			bad[e.key] = unreadableBacklog{entry: e, reason: err}
		}
		b.Revision = e.revision
		lagging[PusherID(id)] = b
		return true
	})
	for key, b := range bad {
		c.unreadable(bucketBacklog, key, b.entry.revision, b.reason)
		if err == nil {
			err = c.keepUnreadable(ctx, bucketBacklog, key, b.entry.value, b.reason)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("load backlog: %w", err)
	}
	return lagging, nil
}

// parseBacklog reads an entry of a partition.
func (c *Conn) parseBacklog(raw []byte, part int) (Backlog, error) {
	var b Backlog
	if err := json.Unmarshal(raw, &b); err != nil {
		return Backlog{Lost: true}, fmt.Errorf("decode backlog: %w", err)
	}
	if !isID(b.UserID) || c.partOf(Token(b.UserID)) != strconv.Itoa(part) {
		return Backlog{Lost: true}, errors.New("decode backlog: user_id is missing or of another partition")
	}
	return b, nil
}
