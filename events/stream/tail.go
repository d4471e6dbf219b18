package stream

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events/wait"
)

const (
	// pullBatch is how many messages one pull request asks for.
	pullBatch = 512
	// pullExpires is the shortest lifetime of a pull request.
	pullExpires = 30 * time.Second
)

// headerLastConsumer is the header of a heartbeat with the consumer sequence of the last
// message that was sent.
const headerLastConsumer = "Nats-Last-Consumer"

// ErrRemade is returned when a stream was deleted and made anew: its sequences have
// nothing to do with those of the old one.
var ErrRemade = errors.New("the stream was made anew")

// errSilent is returned when the server stopped sending heartbeats.
var errSilent = errors.New("the server sends no heartbeats")

// silenceLimit is how long a consumer may be silent before it is given up.
func (c *Conn) silenceLimit() time.Duration { return 3*c.pulse + c.TickInterval() }

// idleLimit is how long the server keeps a consumer without a pull request: its reader has given
// it up by then, or has ended.
func (c *Conn) idleLimit() time.Duration { return 5 * c.silenceLimit() }

// Tail reads the messages of a stream that match a filter, in order and without a gap,
// and then those that are stored later. It pulls from an ephemeral consumer without
// acknowledgements. After any fault of the consumer or the connection (a gap, a missing
// heartbeat, a request that fails) it drops the consumer and makes another one after
// [wait.RetryPause].
//
//	for each m of <-t.Messages(ctx): meta, ok := t.Accept(m)
//	periodically: t.Check(now)
//
// One goroutine owns it; only Trouble may be called from others.
type Tail struct {
	cfg  TailConfig
	conn *Conn

	nc      *nats.Conn         // of the consumer
	sub     *nats.Subscription // nil while there is no consumer
	name    string             // of the consumer, or of the one that is being made
	inbox   chan *nats.Msg
	subject string // of pull requests

	expected uint64 // consumer sequence of the next message
	coming   int    // messages that the pending pull requests may still deliver
	heard    time.Time
	retryAt  time.Time
	failing  bool  // so that an outage is logged once
	over     error // why nothing more can be read
	trouble  Trouble
}

// TailConfig configures a [Tail].
type TailConfig struct {
	Stream, Filter string
	Reader         string                          // name of the reader, for operators who list consumers
	Patience       time.Duration                   // time limit for making a consumer; 0 means 5 s
	From           func(*jetstream.ConsumerConfig) // sets the start of a new consumer
	Began          func(pending uint64)            // optional: called for each new consumer with its number of pending messages
	Made           time.Time                       // when the stream was made; zero if that does not matter
	Bulk           bool                            // use the connection for bulk reads
	Log            *slog.Logger
}

// Tail returns a tail, which makes its consumer at the first call of [Tail.Messages].
func (c *Conn) Tail(cfg TailConfig) *Tail {
	cfg.Patience = cmp.Or(cfg.Patience, RequestTimeout)
	return &Tail{conn: c, cfg: cfg}
}

// TailBucket returns a tail of some keys of a bucket: the last message of each, then
// every change.
func (c *Conn) TailBucket(bucket, keys string, cfg TailConfig) *Tail {
	cfg.Stream, cfg.Filter, cfg.From = bucketStream(bucket), kvSubject(bucket, keys), newestValues
	return c.Tail(cfg)
}

// Connected reports whether the tail has a consumer at the moment.
func (t *Tail) Connected() bool { return t.sub != nil }

// Queued returns how many messages have arrived and were not accepted yet.
func (t *Tail) Queued() int { return len(t.inbox) }

// Over returns why nothing more can be read, or nil.
func (t *Tail) Over() error { return t.over }

// Trouble returns the error that has kept the tail from reading for at least d, or nil.
func (t *Tail) Trouble(d time.Duration) error { return t.trouble.Lasting(d) }

// newestValues makes a consumer begin with the last message of each subject.
func newestValues(cfg *jetstream.ConsumerConfig) {
	cfg.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
}

// Messages returns the channel of the server's messages, or nil while the server cannot
// be reached. The caller passes each message to [Tail.Accept].
func (t *Tail) Messages(ctx context.Context) <-chan *nats.Msg {
	if t.sub == nil && t.over == nil && !time.Now().Before(t.retryAt) {
		if err := t.open(ctx); err != nil {
			t.fail(err)
		}
	}
	return t.inbox
}

func (t *Tail) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Patience)
	defer cancel()
	if err := t.checkMade(ctx); err != nil {
		return err
	}
	t.name = rand.Text()
	cfg := jetstream.ConsumerConfig{
		Name: t.name, Description: t.cfg.Reader, AckPolicy: jetstream.AckNonePolicy, FilterSubject: t.cfg.Filter,
		InactiveThreshold: t.conn.idleLimit(), MemoryStorage: true, Replicas: 1,
	}
	t.cfg.From(&cfg)
	js := t.conn.js
	if t.nc = t.conn.nc; t.cfg.Bulk {
		var err error
		if t.nc, js, err = t.conn.reading(); err != nil {
			return err
		}
	}
	consumer, err := again(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		return js.CreateConsumer(ctx, t.cfg.Stream, cfg) // of that name there is one in the end
	})
	if err != nil {
		t.abandon() // it may have been made
		return fmt.Errorf("create consumer: %w", err)
	}
	inbox := make(chan *nats.Msg, 3*pullBatch)
	if t.sub, err = t.nc.ChanSubscribe(nats.NewInbox(), inbox); err != nil {
		t.abandon()
		return fmt.Errorf("subscribe: %w", err)
	}
	t.inbox = inbox
	info := consumer.CachedInfo()
	t.subject = "$JS.API.CONSUMER.MSG.NEXT." + t.cfg.Stream + "." + info.Name
	t.expected, t.coming, t.heard = 1, 0, time.Now()
	if t.failing {
		t.cfg.Log.Info("reading again")
		t.failing = false
	}
	if t.cfg.Began != nil {
		t.cfg.Began(info.NumPending)
	}
	return t.pull()
}

// checkMade ends the tail for good if the stream was made anew.
func (t *Tail) checkMade(ctx context.Context) error {
	if t.cfg.Made.IsZero() {
		return nil
	}
	stream, err := t.conn.askStream(ctx, t.cfg.Stream)
	if err != nil {
		return fmt.Errorf("look up stream: %w", err)
	}
	if !stream.CachedInfo().Created.Equal(t.cfg.Made) {
		t.over = ErrRemade
		return ErrRemade
	}
	return nil
}

// pull requests more messages once half of the last request has arrived, so that the
// server never waits for a request.
func (t *Tail) pull() error {
	if t.coming > pullBatch/2 {
		return nil
	}
	request, err := json.Marshal(map[string]any{
		"batch": pullBatch, "expires": max(pullExpires, 4*t.conn.pulse), "idle_heartbeat": t.conn.pulse,
	})
	if err != nil {
		return fmt.Errorf("encode pull request: %w", err)
	}
	if err := t.nc.PublishRequest(t.subject, t.sub.Subject, request); err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	t.coming += pullBatch
	return nil
}

// Accept handles a message from the server and reports whether it is the next message of
// the stream. It renews pull requests that ended, and drops the consumer after anything
// unexpected.
func (t *Tail) Accept(m *nats.Msg) (*nats.MsgMetadata, bool) {
	t.heard = time.Now()
	if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 {
		t.status(status, m.Header)
		return nil, false
	}
	meta, err := m.Metadata()
	if err == nil && meta.Sequence.Consumer != t.expected {
		err = fmt.Errorf("message %d of the consumer arrived, expected %d", meta.Sequence.Consumer, t.expected)
	}
	t.expected++
	t.coming--
	if err == nil {
		err = t.pull()
	}
	if err != nil {
		t.fail(err)
	} else {
		t.trouble.Note(nil)
	}
	return meta, t.sub != nil
}

// AcceptRecord is [Tail.Accept] for a tail of a bucket. It returns the key and its new
// state, and how many more messages the consumer has.
func (t *Tail) AcceptRecord(m *nats.Msg) (key string, r Record, pending uint64, ok bool) {
	meta, ok := t.Accept(m)
	if !ok {
		return "", Record{}, 0, false
	}
	return keyOf(m.Subject), recordOf(&jetstream.RawStreamMsg{
		Data: m.Data, Sequence: meta.Sequence.Stream, Header: m.Header,
	}), meta.NumPending, true
}

// noResponders is the status of a request that nobody answers.
const noResponders = "503"

var errNoConsumer = errors.New("pull: 503, no server has the consumer: its stream has no leader, or the server that had it has restarted")

// status handles a status message: a heartbeat (100), an expired pull request (408), or
// the end of the consumer (409 and others).
func (t *Tail) status(status string, header nats.Header) {
	switch status {
	case "100":
		last, err := strconv.ParseUint(header.Get(headerLastConsumer), 10, 64)
		if err == nil && last >= t.expected {
			t.fail(fmt.Errorf("message %d of the consumer did not arrive", t.expected))
			return
		}
		t.trouble.Note(nil)
	case "408":
		unused, _ := strconv.Atoi(header.Get("Nats-Pending-Messages"))
		t.coming -= unused
		if err := t.pull(); err != nil {
			t.fail(err)
		}
	case noResponders:
		t.fail(errNoConsumer)
	default:
		t.fail(fmt.Errorf("pull: %s %s", status, header.Get("Description")))
	}
}

// Check drops the consumer if it has been silent for too long.
func (t *Tail) Check(now time.Time) {
	if t.sub != nil && len(t.inbox) == 0 && now.Sub(t.heard) > t.conn.silenceLimit() {
		t.fail(errSilent)
	}
}

// Drop drops the consumer after an error that the caller met; another is made later.
func (t *Tail) Drop(err error) { t.fail(err) }

func (t *Tail) fail(err error) {
	if !t.failing && !errors.Is(err, context.Canceled) {
		t.cfg.Log.Warn("cannot read, trying until it works", "error", err)
	}
	t.failing = true
	t.trouble.Note(err)
	t.Close()
	t.retryAt = time.Now().Add(wait.RetryPause)
}

// Close drops the consumer.
func (t *Tail) Close() {
	if t.sub != nil {
		_ = t.sub.Unsubscribe() // fails only on a connection that is closed
		t.abandon()
	}
	t.sub, t.inbox = nil, nil
}

// abandon requests the deletion of the consumer, without waiting. A server allows a stream no
// more than 1000 consumers unless it is told to, and refuses new ones to everybody once readers
// that come and go have left so many behind. It deletes one that has been idle by itself, for
// which the request cannot be sent or is lost.
func (t *Tail) abandon() {
	_ = t.nc.Publish("$JS.API.CONSUMER.DELETE."+t.cfg.Stream+"."+t.name, nil) // fails only without a connection
}
