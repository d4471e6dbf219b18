// Package stream reads and writes the streams and buckets in NATS that poked is built on
// (topology.go lists all of them). Only this package and the packages partition, publish,
// owner, operator and roomstore import the NATS client; the others use the types of package
// events.
//
//	homeserver ─publish─▶ ROOMS ──▶ match ──Batch─▶ NOTIFICATIONS ──▶ deliver
//	                        └─▶ ROOM_STATE ──roomstore─▶ ┘                │
//	registry ─PutPushers─▶ PUSHERS ──WatchPushers─▶ match, deliver   BACKLOG, DEAD, REJECTED
//	deliver ─PutPause─▶ GATEWAYS ──WatchPauses─▶ deliver, at all dispatchers
//
// There is one way to follow a stream or bucket ([Tail]), one to write a key that several
// processes may write ([Register]), and one to write many messages with one callback
// ([Batch]). What is stored is read in order ([Conn.Pass]), by sequence ([Conn.Bodies]) or by
// key: these cost the same whatever else a stream holds. Bulk reads have a connection of
// their own, since the server lets everything else on a connection wait meanwhile.
//
// # The log and what is unread
//
// NOTIFICATIONS has one subject for each partition of users, log.<part>, and is read in
// order, or one message by its sequence. Nothing is removed from it but what was redacted;
// it goes by age. What a user has not read is state of the owner of the user's partition,
// who answers questions about it (package owner) and keeps snapshots of it in the bucket
// INBOX ([Inbox]).
//
// With [Topology.Streams] above 1, ROOMS, ROOM_STATE and NOTIFICATIONS are several streams,
// each with a range of the partitions (ranges.go).
//
// # What fails, and how
//
//   - NATS is away: reads and writes fail at once. Nothing is buffered in the client, so
//     nothing is sent later out of order. Tails retry for ever and resume after the last
//     message that they received.
//   - A connection is half open: writes fail after five seconds, and the client reconnects.
//   - A write's answer is lost: the caller gets [ErrUnknownOutcome]. A [Register] reads the
//     key; messages of NOTIFICATIONS are written again, and deliver leaves out what it has
//     applied.
//   - A replica is behind: what it lacks counts as absent only if the leader of the stream
//     confirms it; otherwise the read is repeated.
//   - A stream or bucket is deleted: a process with the permission makes it anew
//     ([Conn.Keep]), beyond its old sequences, and followers start over. Its messages are
//     lost, which is logged as an error.
//   - One of several streams has no leader: its partitions wait, and the others go on, but for
//     events with users of both, and partitions of rooms whose reader has to begin anew.
//   - The number of streams, or the subject mapping, does not fit: a process that sets up the
//     streams refuses to start, with what to change. A publication that no stream takes fails,
//     and one that is stored in another partition than its room's becomes a dead letter.
//   - A message or value cannot be read: it is counted, logged and kept in DEAD with the
//     reason, and everything else goes on.
package stream

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// RequestTimeout is the limit of each request to JetStream. NATS answers in well under a
// millisecond or, during an election, after seconds.
const RequestTimeout = 5 * time.Second

// Config is how to reach NATS.
type Config struct {
	URL  string // comma-separated server URLs; ignored when InProcess is set
	Name string // the name of this connection at the server
	// InProcess connects to a server in this process without a socket.
	InProcess nats.InProcessConnProvider
	// Credentials are used beside those in URL.
	Credentials Credentials
	Log         *slog.Logger // nil logs nothing
	// Pulse is the interval of the server's heartbeats to a consumer without messages,
	// twice the interval of a follower's ticks, and a quarter of that of [Conn.Keep]. 0 means
	// 500 ms, so that a consumer or server that is gone is noticed within two seconds. A
	// longer one is for tests that span days.
	Pulse time.Duration
	// WriteTimeout is how long the server may take to read what is written to it before the
	// connection is given up. 0 means [RequestTimeout].
	WriteTimeout time.Duration
}

const defaultPulse = 500 * time.Millisecond

// Conn is a connection to NATS that reads and writes the types of package events. It
// reconnects for ever; while NATS is away every call fails at once or when its context
// ends.
type Conn struct {
	// Set by Connect.
	cfg   Config
	nc    *nats.Conn
	js    jetstream.JetStream
	log   *slog.Logger
	pulse time.Duration // Config.Pulse
	// writerName is the name under which this connection writes what it has claimed.
	writerName string

	// Set by Setup, Adopt and Join.
	topology Topology
	streams  map[string]jetstream.Stream // by name, those that are read message by message

	// Safe for concurrent use.
	denied      atomic.Pointer[string]        // the last permission that the server denied
	epoch       atomic.Uint64                 // see Epoch
	logEnd      [MaxStreams + 1]atomic.Uint64 // see LogEnd; by the number of the stream
	logBegin    [MaxStreams + 1]logBegin      // by the number of the stream
	keeper      keeper
	unreadables unreadables

	reader reader

	batches chan struct{} // holds one for each write of an Inbox in flight

	mu          sync.Mutex
	writer      *writer // does not change once it is set
	onReconnect []func()
	lost        chan struct{} // closed when a lost connection has returned; nil if nobody waits
}

// Connect connects to NATS, retrying for as long as ctx allows. It fails at once if the
// credentials cannot be read, or if the server refuses them or is not trusted: waiting
// does not help.
func Connect(ctx context.Context, cfg Config) (*Conn, error) {
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	c := &Conn{cfg: cfg, log: cfg.Log, pulse: cmp.Or(cfg.Pulse, defaultPulse), writerName: rand.Text(), batches: make(chan struct{}, inboxBatches)}
	c.keeper.conn = c
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

// TickInterval is the interval at which followers call their handlers' Tick, and at which
// other periodic checks run.
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

// again makes every reader look anew at what NATS holds.
func (c *Conn) again() {
	c.epoch.Add(1)
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

// Epoch returns a number that grows each time before the hooks of [Conn.OnReconnect] are called:
// what was learned of the streams in an earlier epoch may not be so any more.
func (c *Conn) Epoch() uint64 { return c.epoch.Load() }

// OnReconnect registers hook to be called each time the connection was lost and has
// returned, and when a stream was made anew (see [Conn.Keep]). hook must not block.
func (c *Conn) OnReconnect(hook func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onReconnect = append(c.onReconnect, hook)
}

// UntilReconnect returns a channel that is closed the next time a lost connection has
// returned.
func (c *Conn) UntilReconnect() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost == nil {
		c.lost = make(chan struct{})
	}
	return c.lost
}

// Connected reports whether NATS can be reached right now.
func (c *Conn) Connected() bool { return c.nc.IsConnected() }

// URL returns the URL of the server that the connection uses, without credentials.
func (c *Conn) URL() string { return c.nc.ConnectedUrlRedacted() }

// NATS returns the connection itself, for the packages that ask and answer over core NATS.
func (c *Conn) NATS() *nats.Conn { return c.nc }

// JetStream returns the JetStream of the connection, with the limit [RequestTimeout].
func (c *Conn) JetStream() jetstream.JetStream { return c.js }

// Denied returns the last permission that the server denied, or "".
func (c *Conn) Denied() string {
	if why := c.denied.Load(); why != nil {
		return *why
	}
	return ""
}

// Beside makes another connection like this one. Its purpose is part of its name at the server
// and an attribute of what it logs. The caller closes it.
func (c *Conn) Beside(ctx context.Context, purpose string) (*Conn, error) {
	cfg := c.cfg
	cfg.Name += " " + purpose
	cfg.Log = c.log.With("connection", purpose)
	return Connect(ctx, cfg)
}

// Log returns the logger of the connection.
func (c *Conn) Log() *slog.Logger { return c.log }

// Topology returns the topology that [Conn.Setup], [Conn.Adopt] or [Conn.Join] has set, or the
// zero value before.
func (c *Conn) Topology() Topology { return c.topology }

// Close flushes what was written and closes the connection.
func (c *Conn) Close() error {
	defer c.nc.Close()
	defer c.reader.close()
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
