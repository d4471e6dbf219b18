package partition

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
	"poked/events/stream"
)

const (
	// windowLimit limits the messages of one partition that are handed out and not done,
	// and so the memory that they hold.
	windowLimit = 1024
	// unsavedLimit limits how far a worker may run ahead of its stored position, and so
	// how many messages its successor must treat as possibly handled.
	unsavedLimit = 256
	// unsavedFor is how long a worker reads on while its position cannot be stored. If it
	// dies, its successor repeats what it did meanwhile.
	unsavedFor = time.Second
)

// Follower reads one partition of a stage in stream order from its stored position on,
// and stores how far the work is done.
type Follower struct {
	group   *Group
	conn    *stream.Conn
	stage   Stage
	stream  string // its name
	part    int
	owner   string
	handler Handler
	log     *slog.Logger
	window  *window

	begin   uint64         // newest sequence that a predecessor recorded
	before  stream.LogMark // what the predecessor wrote is after it, see Position.Log
	stored  uint64         // newest sequence of the stream when this follower began
	made    time.Time      // when the stream was made
	lostEnd bool           // see LostEnd

	// Owned by the goroutine of Run.
	left     map[uint64]struct{} // sequences that the predecessor left open
	last     uint64              // newest sequence received
	suspects int                 // how many more messages the predecessor may have taken
	caughtUp bool                // everything was received that the predecessor may have handled
	reopened bool                // the tail has a new consumer: NATS may have restarted
	lastAt   time.Time           // when the newest message received was stored; zero before the first
	replays  bool                // see Replay
	drained  bool                // the consumer had no more messages
	tail     *stream.Tail

	saver *saver

	redo     chan Message
	resume   chan Message
	fenced   chan *stream.ConflictError
	replayed atomic.Bool   // see Replayed
	waiting  atomic.Uint64 // see [Following]
	motion   motion
	behind   behind
}

// Follow prepares to process a partition from the position that its last worker stored.
// owner is the name of this worker.
func (g *Group) Follow(ctx context.Context, stage Stage, part int, owner string) (*Follower, error) {
	c := g.conn
	pos, err := loadPosition(ctx, c, stage, part)
	if err != nil {
		return nil, fmt.Errorf("follow %s partition %d: %w", stage.Name, part, err)
	}
	f := &Follower{
		group: g, conn: c, stage: stage, stream: c.Topology().StreamOf(stage.stream, part), part: part, owner: owner,
		log:    c.Log().With("stage", stage.Name, "part", part),
		window: newWindow(pos), begin: pos.Next, before: pos.Log, stored: pos.lastSeq, made: pos.Stream, last: pos.Next, lostEnd: pos.lostEnd,
		left:     map[uint64]struct{}{},
		suspects: unsavedLimit,
		fenced:   make(chan *stream.ConflictError, 1),
		redo:     make(chan Message, windowLimit+unsavedLimit),
		resume:   make(chan Message, windowLimit+unsavedLimit),
	}
	f.saver = newSaver(f, c.Register(stream.BucketPositions, positionKey(stage, part), owner, pos.revision))
	f.tail = c.Tail(stream.TailConfig{
		Stream: f.stream, Filter: f.filter(),
		Reader: stage.Name + " " + owner, Made: pos.Stream, Log: f.log,
		Began: func(pending uint64) {
			f.reopened, f.caughtUp, f.drained = true, f.caughtUp || pending == 0, pending == 0
		},
		From: func(cfg *jetstream.ConsumerConfig) {
			cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, f.last+1
		},
	})
	if pos.lost {
		f.suspects = math.MaxInt // it is unknown how far the predecessor got
	}
	for _, seq := range pos.Open {
		f.left[seq] = struct{}{}
		f.last = min(f.last, seq-1)
	}
	return f, nil
}

func (f *Follower) filter() string { return fmt.Sprintf(f.stage.filter, strconv.Itoa(f.part)) }

// Cursor returns the newest sequence that a predecessor recorded: this follower handles
// everything after it.
func (f *Follower) Cursor() uint64 { return f.begin }

// Replay makes the follower begin behind a sequence, at the latest: messages up to Cursor
// that a predecessor finished arrive as well, with Settled set. Call it before Run.
func (f *Follower) Replay(after uint64) {
	f.replays, f.last = true, min(f.last, after)
}

// LostEnd reports whether the stream has lost its end since the position was stored. Cursor is
// then where the loss begins, as far as the times of messages tell.
func (f *Follower) LostEnd() bool { return f.lostEnd }

// Rewind makes the follower handle everything after a sequence that the stream holds: it has
// lost its end, and what it has there may be other messages. Call it before Run.
func (f *Follower) Rewind(after uint64) {
	if after >= f.begin {
		return
	}
	f.begin, f.last, f.suspects = after, min(f.last, after), math.MaxInt
	for seq := range f.left {
		if seq > after {
			delete(f.left, seq)
		}
	}
	f.window.rewind(after)
}

// Begin returns the sequence behind which the follower begins to read.
func (f *Follower) Begin() uint64 { return f.last }

// Replayed reports whether everything up to Cursor has been received that the stream holds.
func (f *Follower) Replayed() bool { return f.replayed.Load() }

// CaughtUp reports whether everything was received that the predecessor may have handled.
// Only the handler may call it.
func (f *Follower) CaughtUp() bool { return f.caughtUp }

// Made returns when the stream was made.
func (f *Follower) Made() time.Time { return f.made }

// Open returns how many messages were handed out and are not done.
func (f *Follower) Open() int { return f.window.open() }

// Done records that a message's work is complete and durable.
func (f *Follower) Done(seq uint64) { f.window.finish(seq) }

// DonePart records that the work of an open message is complete and durable as far as one of
// its users is concerned, by index.
func (f *Follower) DonePart(seq uint64, index int) { f.window.finishPart(seq, index) }

// Wrote records that everything that an open message causes is stored, except for what it
// causes once another message has arrived. A successor that receives it again need not
// look for what was stored.
func (f *Follower) Wrote(seq uint64) { f.window.wrote(seq) }

// LogOf returns a place in NOTIFICATIONS after which everything is that an open message
// has caused, at this worker or at its predecessor.
func (f *Follower) LogOf(seq uint64) stream.LogMark { return f.window.logOf(seq) }

// Redo passes a message to the handler again, as a replayed one, at the next tick.
func (f *Follower) Redo(msg Message) {
	msg.Replayed = true
	f.redo <- msg // never full: it holds as many as can be open
}

// Resume passes a message that Handle deferred to the handler again.
func (f *Follower) Resume(msg Message) {
	f.resume <- msg // never full: it holds as many as can be open
}

// Bury stores a message as a dead letter (see [Message.Dead]), and then marks it as done.
// The caller logs it.
func (f *Follower) Bury(msg Message, reason events.DeadReason, detail error) {
	f.conn.PublishDead(msg.Dead(reason, detail), func(err error) {
		if err != nil {
			f.log.Warn("dead letter not stored, trying again", "seq", msg.Seq, "error", err)
			f.Redo(msg)
			return
		}
		f.Done(msg.Seq)
	})
}

// Fence ends [Follower.Run], for another worker wrote something that only the owner of
// the partition writes: with [ErrFenced] if that worker has taken over, or with
// [ErrDisturbed] if the partition is still this worker's.
func (f *Follower) Fence(conflict *stream.ConflictError) {
	select {
	case f.fenced <- conflict:
	default: // it is ending
	}
}

// Run follows the partition until ctx ends. Then it calls finish, which waits with a time
// limit of its own for outstanding work, stores the position and returns nil. It returns
// [ErrFenced] as soon as another worker has taken over, and [stream.ErrRemade] if the
// partition has to be followed from the start.
func (f *Follower) Run(ctx context.Context, h Handler, finish func()) error {
	f.handler = h
	f.motion.tick(time.Now(), f.last, false)
	f.group.running.Store(f, nil)
	defer f.group.running.Delete(f)
	defer f.tail.Close()
	f.window.touch() // the first write of the position takes the partition over
	f.noteReplayed()
	stopSaving := f.startSaving()
	defer stopSaving()
	tick := time.NewTicker(f.conn.TickInterval())
	defer tick.Stop()
	for {
		if err := f.step(ctx, tick.C); err != nil {
			if ctx.Err() == nil {
				return err
			}
			finish()
			stopSaving()
			return f.saver.storeLast()
		}
	}
}

// startSaving begins to store the position whenever it changes. stop ends that, and may be
// called twice.
func (f *Follower) startSaving() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f.saver.run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// step waits for one event and handles it.
func (f *Follower) step(ctx context.Context, tick <-chan time.Time) error {
	if f.tail.Over() != nil {
		return fmt.Errorf("%s partition %d: %w", f.stage.Name, f.part, f.tail.Over())
	}
	messages := f.incoming(ctx)
	if f.reopened && f.tail.Connected() {
		return f.mark(ctx)
	}
	f.confirmReplayed(ctx)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case msg := <-messages:
		f.receive(ctx, msg)
	case msg := <-f.resumed():
		f.handler.Handle(ctx, msg)
	case <-f.window.wake:
	case err := <-f.saver.failed:
		return err
	case conflict := <-f.fenced:
		return f.disturbedBy(ctx, conflict)
	case now := <-tick:
		f.tail.Check(now)
		f.advance()
		f.motion.tick(time.Now(), f.last, f.waiting.Load() > 0 || f.tail.Queued() > 0)
		if f.handler.Lease.Held() {
			f.handler.Tick(ctx, now)
			f.redoAll(ctx)
		}
	}
	return nil
}

func (f *Follower) redoAll(ctx context.Context) {
	for range len(f.redo) {
		f.handler.Handle(ctx, <-f.redo)
	}
}

// resumed returns the channel of resumed messages, or nil while the lease is not held.
func (f *Follower) resumed() <-chan Message {
	if !f.handler.Lease.Held() {
		return nil
	}
	return f.resume
}

// incoming returns the channel of new messages, or nil while the window is full or the
// lease is not held.
func (f *Follower) incoming(ctx context.Context) <-chan *nats.Msg {
	if f.window.open() >= windowLimit || f.saver.isBehind() || !f.handler.Lease.Held() {
		return nil
	}
	return f.tail.Messages(ctx)
}

func (f *Follower) receive(ctx context.Context, m *nats.Msg) {
	meta, ok := f.tail.Accept(m)
	if !ok {
		return
	}
	seq := meta.Sequence.Stream
	f.last, f.lastAt = seq, meta.Timestamp
	f.drained = meta.NumPending == 0
	defer f.noteReplayed()
	f.waiting.Store(meta.NumPending)
	f.behind.received(meta.Timestamp, meta.NumPending > 0 || f.tail.Queued() > 0)
	f.noteLog(seq, meta.NumPending)
	f.giveUpBefore(seq)
	_, leftOpen := f.left[seq]
	msg := Message{
		Seq: seq, Subject: m.Subject, Data: m.Data, Time: meta.Timestamp,
		ID: m.Header.Get(jetstream.MsgIDHeader), Historical: stream.IsHistorical(m.Header), Superseded: stream.IsSuperseded(m.Header),
		TraceParent: stream.TraceParentOf(m.Header),
		Replayed:    leftOpen || f.suspects > 0 && seq <= f.stored,
	}
	if seq <= f.begin && !leftOpen { // a predecessor finished it
		if msg.Settled = f.replays; msg.Settled {
			f.handler.Handle(ctx, msg)
		}
		return
	}
	if leftOpen {
		delete(f.left, seq)
	} else {
		f.suspects--
	}
	msg.Wrote, msg.parts = f.window.take(seq, f.logFor(&msg), msg.Time)
	f.saver.took()
	f.handler.Handle(ctx, msg)
}

// noteReplayed records that what the predecessor finished was received.
func (f *Follower) noteReplayed() {
	if f.last >= f.begin {
		f.replayed.Store(true)
	}
}

// giveUpBefore forgets what the predecessor left open and the stream no longer has:
// messages arrive in order, so those before this one will not.
func (f *Follower) giveUpBefore(seq uint64) {
	for gone := range f.left {
		if gone < seq {
			delete(f.left, gone)
			f.window.finish(gone)
		}
	}
}
