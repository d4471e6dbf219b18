package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Any replica of a stream may answer a direct read, and a replica may be behind the leader.
// Only the leader knows where the stream ends, but it returns one message for each request.
// So messages are read from any replica, and the end is confirmed with the leader. A leader
// that was cut off from the others may answer as leader for a few more seconds.

// Query asks the leader of a stream for one message: the last on a subject, or the next
// that matches one, from a sequence or a time on.
type Query struct {
	Last  string     `json:"last_by_subj,omitempty"`
	Next  string     `json:"next_by_subj,omitempty"`
	From  uint64     `json:"seq,omitempty"`
	Since *time.Time `json:"start_time,omitempty"`
}

// encode returns the query as the server expects it.
func (q Query) encode() []byte {
	raw, err := json.Marshal(q)
	if err != nil { // only a time out of range, which no server has given
		return nil
	}
	return raw
}

// leaderSubject returns the subject of requests to the leader of a stream.
func leaderSubject(stream string) string { return "$JS.API.STREAM.MSG.GET." + stream }

// AskLeader returns a message according to the leader of a stream, or nil if there is
// none.
func (c *Conn) AskLeader(ctx context.Context, stream string, q Query) (*jetstream.RawStreamMsg, error) {
	answer, err := again(ctx, func(ctx context.Context) (*nats.Msg, error) {
		return c.nc.RequestWithContext(ctx, leaderSubject(stream), q.encode())
	})
	if err != nil {
		return nil, fmt.Errorf("ask the leader of %s: %w", stream, err)
	}
	msg, err := readLeader(answer.Data)
	if err != nil {
		return nil, fmt.Errorf("ask the leader of %s: %w", stream, err)
	}
	return msg, nil
}

func readLeader(raw []byte) (*jetstream.RawStreamMsg, error) {
	var answer struct {
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, err
	}
	switch e := answer.Error; {
	case e != nil && e.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, nil
	case e != nil:
		return nil, e
	}
	m := answer.Message
	msg := &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Seq, Data: m.Data, Time: m.Time}
	if len(m.Header) > 0 {
		header, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return nil, err
		}
		msg.Header = header
	}
	return msg, nil
}

// CheckNone confirms with the leader that nothing matches any of the filters, after a
// replica found nothing. If something does, the replica is behind.
func (c *Conn) CheckNone(ctx context.Context, stream string, filters ...string) error {
	for _, filter := range filters {
		switch msg, err := c.AskLeader(ctx, stream, Query{Last: filter}); {
		case err != nil:
			return err
		case msg != nil:
			return fmt.Errorf("read %s: %w", stream, ErrBehind)
		}
	}
	return nil
}

// ReadStored yields what [Conn.readLog] does, up to the end of all that the leader has
// acknowledged. A caller that stops earlier costs the leader nothing.
func (c *Conn) ReadStored(ctx context.Context, stream, filter string, from uint64) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		from := from
		for msg, err := range c.readLog(ctx, stream, filter, from) {
			if !yield(msg, err) || err != nil {
				return
			}
			from = msg.Sequence + 1
		}
		c.readRest(ctx, stream, filter, from)(yield)
	}
}

// readRest yields, one message after the other, what the leader has beyond the end of a
// replica. It asks for the last message first, which the leader finds in an index; to
// find that there is no next one, the leader may scan everything stored since.
func (c *Conn) readRest(ctx context.Context, stream, filter string, from uint64) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		last, err := c.AskLeader(ctx, stream, Query{Last: filter})
		for from := from; err == nil && last != nil && from <= last.Sequence; {
			var next *jetstream.RawStreamMsg
			next, err = c.AskLeader(ctx, stream, Query{Next: filter, From: from})
			if next == nil {
				break // it was removed
			}
			if !yield(next, nil) {
				return
			}
			from = next.Sequence + 1
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// ReadSince yields what was stored since a time, as ReadStored does.
func (c *Conn) ReadSince(ctx context.Context, stream, filter string, since time.Time) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		since := since.Add(-ClockSkew)
		last, err := c.AskLeader(ctx, stream, Query{Last: filter})
		if err == nil && (last == nil || last.Time.Before(since)) {
			return
		}
		var first *jetstream.RawStreamMsg
		if err == nil {
			first, err = c.FirstSince(ctx, stream, filter, since)
		}
		if err == nil && first == nil {
			first, err = c.AskLeader(ctx, stream, Query{Next: filter, Since: &since})
		}
		switch {
		case err != nil:
			yield(nil, err)
		case first != nil:
			c.ReadStored(ctx, stream, filter, first.Sequence)(yield)
		}
	}
}

// ErrBehind is returned when the replica that answered lags behind its leader.
var ErrBehind = errors.New("the replica that answered is behind")
