// Package stream reads and writes the streams and buckets in NATS that poked is built on
// (topology.go has the table of all of them). It and package partition are the only ones
// that speak NATS; the rest of poked thinks in the nouns of package events.
//
//	homeserver ─publish─▶ ROOMS ──▶ match ──Batch─▶ NOTIFICATIONS ──▶ deliver
//	                        └─▶ ROOM_STATE ──RoomState─▶ ┘                │
//	registry ─PutPushers─▶ PUSHERS ──WatchPushers─▶ match, deliver   BACKLOG, DEAD, REJECTED
//	deliver ─PutPause─▶ GATEWAYS ──WatchPauses─▶ deliver, at all dispatchers
//
// There is one way each to follow ([Tail]), to write what several may write ([Register]),
// and to write many messages with one answer ([Batch]).
//
// # What is unread
//
// NOTIFICATIONS holds what each user has been notified of and has not read, under
// notify.<part>.<user>.<room>.<thread>: the server counts it by subject and removes a
// room or a thread up to a sequence in one request. Beside it stand how far the user has
// read (read.…, the newest for each thread) and which notification's event was redacted
// (redacted.…), in the order in which they became known, so whoever follows the partition
// removes them in that order.
//
// # What fails, and how
//
//   - NATS is away: reads and writes fail at once. Nothing is buffered in the client, so
//     nothing surfaces later out of order. Tails try for ever and resume after the last
//     message they received.
//   - A connection is half open: writes are given up after five seconds, and the client
//     connects anew.
//   - A write's answer is lost: the caller gets [ErrUnknownOutcome]. A [Register] finds out
//     by asking what stands there; reads and redactions repeat without harm; a
//     notification is first looked for in the log.
//   - A replica has not heard yet of what was acknowledged: what it does not have counts
//     as absent only if the leader of the stream agrees, or the read is repeated.
//   - A stream or bucket is deleted: whoever may makes it anew ([Conn.Keep]), beyond the
//     sequences that it had, and followers begin anew. What it held is lost, and that is
//     logged as an error.
//   - A message or value cannot be read: it is counted, logged and kept in DEAD with the
//     reason, and everything else goes on.
package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// RequestTimeout bounds each request to JetStream. NATS answers in well under a
// millisecond or, during an election, after seconds.
const RequestTimeout = 5 * time.Second

// RetryWait is the pause before something that failed is tried again.
const RetryWait = 500 * time.Millisecond

// Config says how to reach NATS.
type Config struct {
	URL  string // comma-separated server URLs; ignored when InProcess is set
	Name string // how this connection shows up at the server
	// InProcess connects to a server inside this process without a socket.
	InProcess nats.InProcessConnProvider
	// Credentials say who this is, beside what the URL says, and whom it trusts.
	Credentials Credentials
	Log         *slog.Logger
	// Pulse is how often a server that has no messages says that it is there, to
	// whoever waits for some; twice as often they look after what is left to do. 0
	// means 500 ms: a consumer or a server that is gone is noticed within two
	// seconds. A longer one is for tests that live through days.
	Pulse time.Duration
}

const defaultPulse = 500 * time.Millisecond

// Conn is a connection to NATS that speaks poked's nouns. It reconnects for
// ever; while NATS is away every call fails at once or when its context ends.
type Conn struct {
	cfg    Config
	nc     *nats.Conn
	js     jetstream.JetStream
	log    *slog.Logger
	writer *writer
	pulse  time.Duration // Config.Pulse

	denied atomic.Pointer[string] // what the server last said that it does not permit

	keeper      keeper
	unreadables unreadables

	stateHeard atomic.Pointer[stateHeard] // how far ROOM_STATE is known to have got

	// Set by Setup and Join.
	partitions    int
	rooms         jetstream.Stream
	notifications jetstream.Stream
	dead          jetstream.Stream

	mu          sync.Mutex
	onReconnect []func()
	lost        chan struct{} // closed when a connection that was lost is back
}

// Connect reaches NATS, waiting for it as long as ctx allows. It fails at once when
// the credentials cannot be read, or a server refuses them or is not trusted: no
// patience mends that.
func Connect(ctx context.Context, cfg Config) (*Conn, error) {
	c := &Conn{cfg: cfg, log: cfg.Log, pulse: cmp.Or(cfg.Pulse, defaultPulse)}
	nc, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.nc = nc
	if c.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(RequestTimeout)); err != nil {
		nc.Close()
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	writer, err := newWriter(nc, cfg.Log)
	if err != nil {
		nc.Close()
		return nil, err
	}
	c.mu.Lock() // the connection may be lost already
	c.writer = writer
	c.mu.Unlock()
	return c, nil
}

// TickInterval is how often the Tick of a follower's handler runs, and whatever else
// has to be looked at again and again.
func (c *Conn) TickInterval() time.Duration { return c.pulse / 2 }

func (c *Conn) disconnected(nc *nats.Conn, err error) {
	if nc.IsClosed() {
		return
	}
	c.log.Warn("nats is away", "error", err)
	c.mu.Lock()
	writer := c.writer
	c.mu.Unlock()
	if writer == nil {
		return // nothing was written yet
	}
	writer.failAll(fmt.Errorf("nats is away: %w", ErrUnknownOutcome))
}

func (c *Conn) reconnected(nc *nats.Conn) {
	c.log.Info("nats is back", "nats_url", nc.ConnectedUrlRedacted())
	c.again()
}

// again has everybody look anew at what NATS holds.
func (c *Conn) again() {
	c.stateHeard.Store(new(stateHeard)) // another than before, also if that said nothing
	c.mu.Lock()
	hooks := c.onReconnect
	if c.lost != nil {
		close(c.lost)
		c.lost = nil
	}
	c.mu.Unlock()
	for _, hook := range hooks {
		hook()
	}
}

// OnReconnect has hook called each time the connection was lost and is back, and
// when a stream was made anew (see [Conn.Keep]). hook must not block.
func (c *Conn) OnReconnect(hook func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onReconnect = append(c.onReconnect, hook)
}

// UntilReconnect returns a channel that is closed when the connection was lost
// and is back, from now on.
func (c *Conn) UntilReconnect() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost == nil {
		c.lost = make(chan struct{})
	}
	return c.lost
}

// Connected says whether NATS can be reached right now.
func (c *Conn) Connected() bool { return c.nc.IsConnected() }

// URL returns the server that the connection is on, without credentials.
func (c *Conn) URL() string { return c.nc.ConnectedUrlRedacted() }

// Log returns the logger of the connection.
func (c *Conn) Log() *slog.Logger { return c.log }

// Partitions returns how many partitions the streams have.
func (c *Conn) Partitions() int { return c.partitions }

// Close flushes what was written and closes the connection.
func (c *Conn) Close() error {
	defer c.nc.Close()
	if !c.nc.IsConnected() {
		return nil // nothing is buffered while NATS is away
	}
	ctx, cancel := context.WithTimeout(context.Background(), RequestTimeout)
	defer cancel()
	if err := c.nc.FlushWithContext(ctx); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("flush nats: %w", err)
	}
	return nil
}
