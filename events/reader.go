package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pullBatch is how many messages are asked for ahead.
	pullBatch = 512
	// pullExpires is how long one request for messages stands, at the least.
	pullExpires = 30 * time.Second
)

// silenceLimit is after how long without a word a consumer is given up.
func (c *Conn) silenceLimit() time.Duration { return 3*c.pulse + c.TickInterval() }

// reader feeds a follower from an ephemeral consumer without acknowledgements,
// by pull requests of its own: one subscription for as long as all goes well.
// Whatever goes wrong with the consumer or the connection, the remedy is the
// same: drop the consumer and make another that begins after the last message
// the follower received. The goroutine of [Follower.Run] owns it.
type reader struct {
	sub     *nats.Subscription
	inbox   chan *nats.Msg
	subject string // where pull requests go

	expected uint64 // consumer sequence of the next message
	coming   int    // messages that the requests which stand may still bring
	heard    time.Time
	retryAt  time.Time
	failing  bool  // so that an outage is logged once
	over     error // why nothing more can be read
}

// headerLastConsumer is the number of the newest message that was sent, in a
// heartbeat.
const headerLastConsumer = "Nats-Last-Consumer"

// ErrRemade says that somebody deleted a stream and that it was made anew: what is
// remembered of the one before means nothing for it.
var ErrRemade = errors.New("the stream was made anew")

// errSilent says that the server stopped sending heartbeats.
var errSilent = errors.New("the server fell silent")

// messages returns the channel of what the server sends, or nil while it
// cannot be reached.
func (r *reader) messages(ctx context.Context, f *Follower) <-chan *nats.Msg {
	if r.sub == nil && time.Now().After(r.retryAt) {
		err := r.open(ctx, f)
		if errors.Is(err, ErrRemade) {
			r.over = err
		}
		if err != nil {
			r.fail(f, err)
		}
	}
	return r.inbox
}

func (r *reader) open(ctx context.Context, f *Follower) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := f.conn.js.Stream(ctx, f.stage.stream)
	if err != nil {
		return fmt.Errorf("look up stream: %w", err)
	}
	if !stream.CachedInfo().Created.Equal(f.made) {
		return ErrRemade
	}
	consumer, err := f.conn.js.CreateConsumer(ctx, f.stage.stream, jetstream.ConsumerConfig{
		Description:       f.stage.Name + " " + f.owner,
		AckPolicy:         jetstream.AckNonePolicy,
		FilterSubject:     fmt.Sprintf(f.stage.filter, strconv.Itoa(f.part)),
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       f.last + 1,
		InactiveThreshold: time.Minute,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return fmt.Errorf("create consumer: %w", err)
	}
	r.inbox = make(chan *nats.Msg, 3*pullBatch)
	if r.sub, err = f.conn.nc.ChanSubscribe(nats.NewInbox(), r.inbox); err != nil {
		r.inbox = nil
		return fmt.Errorf("subscribe: %w", err)
	}
	r.subject = "$JS.API.CONSUMER.MSG.NEXT." + f.stage.stream + "." + consumer.CachedInfo().Name
	r.expected, r.coming, r.heard = 1, 0, time.Now()
	if r.failing {
		f.log.Info("reading again", "last_seq", f.last)
		r.failing = false
	}
	return r.pull(f)
}

// pull asks for more as soon as half of what was asked for has come, so that
// the server never waits for a request.
func (r *reader) pull(f *Follower) error {
	if r.coming > pullBatch/2 {
		return nil
	}
	request, err := json.Marshal(map[string]any{
		"batch": pullBatch, "expires": max(pullExpires, 4*f.conn.pulse), "idle_heartbeat": f.conn.pulse,
	})
	if err != nil {
		return fmt.Errorf("encode pull request: %w", err)
	}
	if err := f.conn.nc.PublishRequest(r.subject, r.sub.Subject, request); err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	r.coming += pullBatch
	return nil
}

// accept takes in one word of the server's and says whether it is the message
// that was to come next. Requests that ended are replaced; anything unexpected
// has the consumer made anew.
func (r *reader) accept(f *Follower, m *nats.Msg) (*nats.MsgMetadata, bool) {
	r.heard = time.Now()
	if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 {
		r.status(f, status, m.Header)
		return nil, false
	}
	meta, err := m.Metadata()
	if err == nil && meta.Sequence.Consumer != r.expected {
		err = fmt.Errorf("message %d of the consumer came, %d was to come", meta.Sequence.Consumer, r.expected)
	}
	r.expected++
	r.coming--
	if err == nil {
		err = r.pull(f)
	}
	if err != nil {
		r.fail(f, err)
	} else {
		f.unread.note(nil)
	}
	return meta, r.sub != nil
}

// status takes in what is no message: a heartbeat (100), a request whose time
// is over (408), or word that the consumer is of no more use (409 and others).
func (r *reader) status(f *Follower, status string, header nats.Header) {
	switch status {
	case "100":
		last, err := strconv.ParseUint(header.Get(headerLastConsumer), 10, 64)
		if err == nil && last >= r.expected {
			r.fail(f, fmt.Errorf("message %d of the consumer did not come", r.expected))
			return
		}
		f.unread.note(nil)
	case "408":
		unused, _ := strconv.Atoi(header.Get("Nats-Pending-Messages"))
		r.coming -= unused
		if err := r.pull(f); err != nil {
			r.fail(f, err)
		}
	default:
		r.fail(f, fmt.Errorf("pull: %s %s", status, header.Get("Description")))
	}
}

// check gives the consumer up when nothing is heard of it.
func (r *reader) check(f *Follower, now time.Time) {
	if r.sub != nil && len(r.inbox) == 0 && now.Sub(r.heard) > f.conn.silenceLimit() {
		r.fail(f, errSilent)
	}
}

func (r *reader) fail(f *Follower, err error) {
	if !r.failing && !errors.Is(err, context.Canceled) {
		f.log.Warn("cannot read, trying until it works", "error", err)
	}
	r.failing = true
	f.unread.note(err)
	r.close()
	r.retryAt = time.Now().Add(retryWait)
}

// close forgets the consumer; the server drops it when it has been idle.
func (r *reader) close() {
	if r.sub != nil {
		_ = r.sub.Unsubscribe() // fails only on a connection that is closed
	}
	r.sub, r.inbox = nil, nil
}
