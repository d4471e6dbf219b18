package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

// headerLastConsumer is the number of the newest message that was sent, in a
// heartbeat.
const headerLastConsumer = "Nats-Last-Consumer"

// ErrRemade says that somebody deleted a stream and that it was made anew: what is
// remembered of the one before means nothing for it.
var ErrRemade = errors.New("the stream was made anew")

// errSilent says that the server stopped sending heartbeats.
var errSilent = errors.New("the server fell silent")

// silenceLimit is after how long without a word a consumer is given up.
func (c *Conn) silenceLimit() time.Duration { return 3*c.pulse + c.TickInterval() }

// tail reads the messages of a stream that match a filter, in order and without a gap,
// and goes on with what is stored later. It pulls from an ephemeral consumer without
// acknowledgements. Whatever goes wrong with the consumer or the connection (a gap, a
// missing heartbeat, a request that fails), the remedy is the same: the consumer is
// dropped, and another one made after retryWait.
//
//	for each word of <-t.messages(ctx): meta, ok := t.accept(m)
//	now and then: t.check(now)
//
// One goroutine owns it.
type tail struct {
	conn           *Conn
	log            *slog.Logger
	stream, filter string
	name           string                          // of whoever reads, for operators who list consumers
	patience       time.Duration                   // bounds the making of a consumer
	from           func(*jetstream.ConsumerConfig) // sets where a new consumer begins
	began          func(pending uint64)            // optional: a new consumer was made, for so many messages
	made           time.Time                       // when the stream was made; zero if it does not matter

	sub     *nats.Subscription // nil while there is no consumer
	inbox   chan *nats.Msg
	subject string // where pull requests go

	expected uint64 // consumer sequence of the next message
	coming   int    // messages that the requests which stand may still bring
	heard    time.Time
	retryAt  time.Time
	failing  bool    // so that an outage is logged once
	over     error   // why nothing more can be read
	trouble  trouble // why nothing is read at the moment
}

// newestValues begins with the last message of each subject, as those who read a
// bucket do.
func newestValues(cfg *jetstream.ConsumerConfig) {
	cfg.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
}

// messages returns the channel of what the server sends, or nil while it
// cannot be reached.
func (t *tail) messages(ctx context.Context) <-chan *nats.Msg {
	if t.sub == nil && t.over == nil && !time.Now().Before(t.retryAt) {
		if err := t.open(ctx); err != nil {
			t.fail(err)
		}
	}
	return t.inbox
}

func (t *tail) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.patience)
	defer cancel()
	if err := t.checkMade(ctx); err != nil {
		return err
	}
	cfg := jetstream.ConsumerConfig{
		Description: t.name, AckPolicy: jetstream.AckNonePolicy, FilterSubject: t.filter,
		InactiveThreshold: time.Minute, MemoryStorage: true, Replicas: 1,
	}
	t.from(&cfg)
	consumer, err := t.conn.js.CreateConsumer(ctx, t.stream, cfg)
	if err != nil {
		return fmt.Errorf("create consumer: %w", err)
	}
	t.inbox = make(chan *nats.Msg, 3*pullBatch)
	if t.sub, err = t.conn.nc.ChanSubscribe(nats.NewInbox(), t.inbox); err != nil {
		t.inbox = nil
		return fmt.Errorf("subscribe: %w", err)
	}
	info := consumer.CachedInfo()
	t.subject = "$JS.API.CONSUMER.MSG.NEXT." + t.stream + "." + info.Name
	t.expected, t.coming, t.heard = 1, 0, time.Now()
	if t.failing {
		t.log.Info("reading again")
		t.failing = false
	}
	if t.began != nil {
		t.began(info.NumPending)
	}
	return t.pull()
}

// checkMade fails, for good, if the stream is not the one that it was.
func (t *tail) checkMade(ctx context.Context) error {
	if t.made.IsZero() {
		return nil
	}
	stream, err := t.conn.js.Stream(ctx, t.stream)
	if err != nil {
		return fmt.Errorf("look up stream: %w", err)
	}
	if !stream.CachedInfo().Created.Equal(t.made) {
		t.over = ErrRemade
		return ErrRemade
	}
	return nil
}

// pull asks for more as soon as half of what was asked for has come, so that
// the server never waits for a request.
func (t *tail) pull() error {
	if t.coming > pullBatch/2 {
		return nil
	}
	request, err := json.Marshal(map[string]any{
		"batch": pullBatch, "expires": max(pullExpires, 4*t.conn.pulse), "idle_heartbeat": t.conn.pulse,
	})
	if err != nil {
		return fmt.Errorf("encode pull request: %w", err)
	}
	if err := t.conn.nc.PublishRequest(t.subject, t.sub.Subject, request); err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	t.coming += pullBatch
	return nil
}

// accept takes what the server sent and reports whether it is the message that was to
// come next. Requests that ended are replaced; after anything unexpected the consumer
// is made anew.
func (t *tail) accept(m *nats.Msg) (*nats.MsgMetadata, bool) {
	t.heard = time.Now()
	if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 {
		t.status(status, m.Header)
		return nil, false
	}
	meta, err := m.Metadata()
	if err == nil && meta.Sequence.Consumer != t.expected {
		err = fmt.Errorf("message %d of the consumer came, %d was to come", meta.Sequence.Consumer, t.expected)
	}
	t.expected++
	t.coming--
	if err == nil {
		err = t.pull()
	}
	if err != nil {
		t.fail(err)
	} else {
		t.trouble.note(nil)
	}
	return meta, t.sub != nil
}

// status takes what is no message: a heartbeat (100), a request whose time
// is over (408), or word that the consumer is of no more use (409 and others).
func (t *tail) status(status string, header nats.Header) {
	switch status {
	case "100":
		last, err := strconv.ParseUint(header.Get(headerLastConsumer), 10, 64)
		if err == nil && last >= t.expected {
			t.fail(fmt.Errorf("message %d of the consumer did not come", t.expected))
			return
		}
		t.trouble.note(nil)
	case "408":
		unused, _ := strconv.Atoi(header.Get("Nats-Pending-Messages"))
		t.coming -= unused
		if err := t.pull(); err != nil {
			t.fail(err)
		}
	default:
		t.fail(fmt.Errorf("pull: %s %s", status, header.Get("Description")))
	}
}

// check gives the consumer up when nothing is heard of it.
func (t *tail) check(now time.Time) {
	if t.sub != nil && len(t.inbox) == 0 && now.Sub(t.heard) > t.conn.silenceLimit() {
		t.fail(errSilent)
	}
}

func (t *tail) fail(err error) {
	if !t.failing && !errors.Is(err, context.Canceled) {
		t.log.Warn("cannot read, trying until it works", "error", err)
	}
	t.failing = true
	t.trouble.note(err)
	t.close()
	t.retryAt = time.Now().Add(retryWait)
}

// close forgets the consumer; the server drops it when it has been idle.
func (t *tail) close() {
	if t.sub != nil {
		_ = t.sub.Unsubscribe() // fails only on a connection that is closed
	}
	t.sub, t.inbox = nil, nil
}
