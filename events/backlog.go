package events

import (
	"context"
	"encoding/json"
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
	header := nats.Header{
		"KV-Operation": []string{"PURGE"}, jetstream.MsgRollup: []string{jetstream.MsgRollupSubject},
		jetstream.MsgTTLHeader: []string{markerTTL.String()}, // what is gone leaves nothing behind
	}
	if revision > 0 {
		header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	}
	c.writeBacklog(id, user, header, nil, done)
}

func (c *Conn) writeBacklog(id PusherID, user UserID, header nats.Header, value []byte, done func(uint64, error)) {
	c.writeKey(bucketBacklog, c.partOf(Token(user))+"."+string(id), header, value, done)
}

// LoadBacklog returns the lagging pushers of one partition.
func (c *Conn) LoadBacklog(ctx context.Context, part int) (map[PusherID]Backlog, error) {
	r, err := c.readBucket(ctx, bucketBacklog, strconv.Itoa(part)+".*")
	if err != nil {
		return nil, err
	}
	defer r.end()
	lagging := map[PusherID]Backlog{}
	err = r.load(ctx, func(entry jetstream.KeyValueEntry) (more bool) {
		_, id, _ := strings.Cut(entry.Key(), ".")
		if entry.Operation() != jetstream.KeyValuePut {
			delete(lagging, PusherID(id))
			return true
		}
		var b Backlog
		if err := json.Unmarshal(entry.Value(), &b); err != nil {
			// One value that cannot be read must not keep all others waiting.
			c.log.Error("unreadable backlog entry skipped", "key", entry.Key(), "error", err)
			return true
		}
		b.Revision = entry.Revision()
		lagging[PusherID(id)] = b
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("load backlog: %w", err)
	}
	return lagging, nil
}
