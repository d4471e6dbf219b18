// Package match turns room events into notifications: it follows partitions of ROOMS and
// writes one message to NOTIFICATIONS for each event and each partition of the users whom it
// notifies.
//
//	ROOMS ──▶ Matcher ──▶ room (state, audience, timeline) ──▶ evaluate ──▶ fanout ──▶ NOTIFICATIONS
//	            │              receipts, redactions ──▶ what was read ──────────┘
//	            └──▶ searches ──▶ archive: events that are older than the room's timeline
//
// A room event is done when everything that it causes is stored. Only then the next event
// of its room begins (roomOrder), so that a room's notifications are stored in its order
// (G3). A receipt or redaction that arrives before its event waits for it for ten minutes
// (pending). An event that the room's timeline does not remember is looked up by a goroutine
// of its own, and each room is read once (archive), so that no receipt holds up a partition
// (G12).
//
// # What fails, and how
//
//	notification not stored  the event is matched and written again: the message says so, and deliver leaves
//	                         out users who have the notification already
//	NATS slower than match   match waits: a bounded number of bytes is written and not stored
//	read not stored          the receipt stays open and is processed again
//	room marked as unread,   in the log a receipt from before may follow: each names its sequence in ROOMS, and only
//	and a receipt            a later receipt takes the mark back
//	thread subscription      each message counts from its place in the room's order on, as state does: an event before it
//	after its event          keeps its decision, also if it is matched again. It is in ROOM_STATE, so a restart changes
//	                         nothing; one that was never published counts as none
//	message cannot be read   dead letter, counted and logged; the next message follows
//	in a wrong partition     dead letter, whose retry publishes the message where it belongs
//	directory lags           match waits at a barrier of the registry until it knows the change
//	event published again    it notifies nobody
//	ROOMS has lost its end   (power cut) events that have the sequences of lost ones now are matched as new ones;
//	                         deliver tells them apart by their ids
//	killed at any point      the next owner matches and writes again what may not have been stored; nothing is
//	                         looked up for that
//
// Match imports no lane and no gateway: who is notified does not depend on deliveries.
package match

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"poked/dispatcher/directory"
	"poked/dispatcher/spans"
	"poked/events"
	"poked/events/partition"
	"poked/events/roomstore"
	"poked/events/stream"
	"poked/events/wait"
)

// Matcher processes one partition of ROOMS. It keeps the state of the partition's rooms,
// and turns each room event into one notification for each user whom the event notifies,
// and each receipt into a record of what its user has read. Everything runs on the
// follower's goroutine, except searches and the answers of NATS to writes.
type Matcher struct {
	cfg Config

	follower *partition.Follower
	rooms    *rooms
	archive  *archive
	searches *searches
	writing  atomic.Int64 // fanouts that are neither stored nor failed
	pending  pending
	turns    roomOrder

	evaluator evaluator
	recorder  recorder      // reused for each event, as spans
	spans     []stream.Span // see notify
}

// Config is what the matchers of all partitions of a dispatcher have in common.
type Config struct {
	Conn         *stream.Conn
	Rooms        *roomstore.Store
	Directory    *directory.Directory
	Lease        *partition.Lease
	Counts       *Counters
	Owned        *atomic.Int64       // how many partitions the dispatcher owns, which divide the memory for rooms
	Unstored     *semaphore.Weighted // bytes that may still be written, see NewUnstored
	EveryReceipt bool                // write every receipt, also one that clears nothing: deliver needs them
	Rings        bool                // a call is told of for as long as it rings
	Avatars      bool                // keep the avatars of rooms, and store them with notifications
	OpenRooms    int                 // how many rooms all matchers together keep in memory
	Spans        *spans.Recorder     // nil unless traces are exported
	Log          *slog.Logger
}

// New returns the matcher of the partition that f follows. [Matcher.Run] starts it.
func New(cfg Config, f *partition.Follower) (*Matcher, error) {
	rooms, err := newRooms(cfg.Rooms, cfg.OpenRooms, f.Cursor())
	if err != nil {
		return nil, err
	}
	rooms.avatars = cfg.Avatars
	archive, err := newArchive(cfg.Rooms)
	if err != nil {
		return nil, err
	}
	return &Matcher{
		cfg: cfg, follower: f, rooms: rooms, archive: archive,
		searches: newSearches(cfg.Conn, archive, cfg.Log, f.Resume), turns: newRoomOrder(),
		evaluator: evaluator{directory: cfg.Directory}, recorder: recorder{rings: cfg.Rings},
	}, nil
}

// matchGrace is how long a stop waits for notifications to be stored.
const matchGrace = 5 * time.Second

// Run follows the partition until ctx ends. It then waits until what was written is stored,
// for as long as drain allows and for at most 5 s.
func (m *Matcher) Run(ctx context.Context, drain wait.Drain) error {
	drain.Grace = matchGrace
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	beside.Go(func() { m.searches.run(ctx) })
	return m.follower.Run(ctx, m.handler(), func() {
		drain.Until(func() bool { return m.writing.Load() == 0 })
	})
}

// Counters count what match has done since the dispatcher began. All partitions share
// them.
type Counters struct {
	RoomEvents    atomic.Uint64 // matched
	Notifications atomic.Uint64 // stored
	Skipped       atomic.Uint64 // messages of ROOMS that could not be read

	// Suppressed counts the users with a pusher whom room events did not notify, by reason.
	// An event that notifies nobody whatever the rules say counts once.
	Suppressed [events.Suppressions]atomic.Uint64
}

// suppressed adds up why an event did not notify users.
func (c *Counters) suppressed(by *[events.Suppressions]uint64) {
	for reason := events.NotSuppressed + 1; reason < events.Suppressions; reason++ {
		if n := by[reason]; n > 0 {
			c.Suppressed[reason].Add(n)
		}
	}
}

func (m *Matcher) handler() partition.Handler {
	return partition.Handler{Handle: m.handle, Tick: m.tick, Lease: m.cfg.Lease}
}

func (m *Matcher) tick(_ context.Context, now time.Time) {
	m.pending.expire(now)
	m.rooms.divide(int(m.cfg.Owned.Load()))
	m.archive.divide(int(m.cfg.Owned.Load()))
}

// errAstray is why a room event in another partition than its room's is not matched: the room's
// state is elsewhere. A retry of the dead letter publishes it where it belongs.
var errAstray = errors.New("it is not in the partition of its room: the subject mapping of NATS does not fit")

// handle matches one message of ROOMS, or postpones it until the one before it in its room
// is stored. If ctx ends first the message stays open, and is delivered again.
func (m *Matcher) handle(ctx context.Context, msg partition.Message) {
	if m.cfg.Conn.Topology().IsAstray(msg.Subject) {
		m.reject(msg, events.DeadBadEvent, errAstray)
		return
	}
	_, rest := events.SplitRoom(msg.Subject)
	if events.IsBarrier(rest) {
		m.passBarrier(ctx, msg)
		return
	}
	if !m.turns.begin(msg) {
		return
	}
	switch {
	case events.IsReceipt(rest) && events.IsMarks(msg.Data):
		m.readMarks(ctx, msg)
	case events.IsReceipt(rest):
		m.readReceipts(ctx, msg)
	case events.IsThreadSubscription(rest):
		m.readSubscription(msg)
	default:
		m.readEvent(ctx, msg)
	}
}

// readEvent matches a room event in its turn.
func (m *Matcher) readEvent(ctx context.Context, msg partition.Message) {
	ev, err := events.ParseMarked(msg.Subject, msg.Data, msg.Superseded)
	if err != nil {
		m.forget(msg)
		m.reject(msg, events.DeadBadEvent, err)
		return
	}
	var r *room
	err = wait.Until(ctx, wait.RetryPause, m.failed, func() (err error) {
		r, err = m.rooms.before(ctx, &ev, msg.Seq)
		return err
	})
	if err != nil {
		return
	}
	s := m.searches.take(msg.Seq)
	repeated, known := m.isRepeated(r, s, &ev, msg)
	if s == nil && m.search(r, &ev, msg, repeated, known) {
		return
	}
	m.cfg.Counts.RoomEvents.Add(1)
	var reader events.UserID
	if !ev.IsState || ev.IsOn(msg.Subject) { // else newer state stands
		reader = readerOf(&ev, r)
		r.fold(&ev)
	}
	r.seq = msg.Seq
	switch {
	case repeated:
		m.cfg.Counts.Suppressed[events.SuppressRepeated].Add(1)
		m.done(msg)
	case msg.Historical:
		m.cfg.Counts.Suppressed[events.SuppressPast].Add(1)
		r.timeline.addPast(ev.EventID, msg.Seq, msg.Time, m.placeOf(r, ev.Content))
		m.done(msg)
	default:
		m.match(ctx, msg, &ev, r, s, reader)
	}
}

// search looks up in the background what is not known about a room event: whether it is a
// repetition, and who has the notification of the event that it redacts. It reports whether
// there is anything to look up; then the event and its room wait for the search.
func (m *Matcher) search(r *room, ev *events.RoomEvent, msg partition.Message, repeated, known bool) bool {
	s := search{before: r.timeline.from}
	if !known {
		s.wanted = append(s.wanted, ev.EventID)
	}
	if target := r.redactedBy(ev); target != "" && !repeated && !msg.Historical {
		s.redacted, s.target = m.toRedact(r, ev, target)
		s.spans = r.timeline.spansOf(s.target.seq)
	}
	if !repeated && !msg.Historical {
		s.parent = m.unknownParent(r, ev)
	}
	return (len(s.wanted) > 0 || s.redacted != "" || s.parent != "") && m.searches.add(s, msg, r.id)
}

// forget clears the state that an unreadable state event replaces, as a process that loads
// the room does: a member whose leave cannot be read is not notified any more.
func (m *Matcher) forget(msg partition.Message) {
	ev, ok := events.StateOn(msg.Published())
	if !ok {
		return
	}
	if r, open := m.rooms.open.Peek(ev.RoomID); open && r.seq < msg.Seq {
		r.fold(&ev)
		r.seq = msg.Seq
	}
}

// done marks a message that causes nothing as done.
func (m *Matcher) done(msg partition.Message) {
	m.follower.Done(msg.Seq)
	m.resumeRoom(msg)
}

// reject writes a dead letter for a message that cannot be read. The room does not wait
// until that is stored.
func (m *Matcher) reject(msg partition.Message, reason events.DeadReason, detail error) {
	f := m.newFanout(msg)
	f.detached = true
	f.addDead(msg.Dead(reason, detail))
	f.end(nil)
	m.resumeRoom(msg)
}

// resumeRoom starts the next message of a room: everything that msg causes is stored.
func (m *Matcher) resumeRoom(msg partition.Message) {
	if next, waits := m.turns.end(msg); waits {
		m.follower.Resume(next)
	}
}

func (m *Matcher) failed(err error) {
	m.cfg.Log.Warn("match waits for nats", "error", err)
}

// match decides whom the event notifies, writes the notifications, and then what its
// sender has read by it. The room event is done when everything is stored; if that is
// uncertain it is matched again, as a replayed one.
func (m *Matcher) match(ctx context.Context, msg partition.Message, ev *events.RoomEvent, r *room, s *search, reader events.UserID) {
	span := m.cfg.Spans.Match(msg.TraceParent, ev)
	msg.TraceParent = span.TraceParent(msg.TraceParent)
	f := m.newFanout(msg)
	f.span = span
	in := m.placeOf(r, ev.Content)
	thread := in.root
	r.timeline.add(ev.EventID, msg.Seq, msg.Time, in)
	if redaction := r.redactionBy(ev); redaction != nil {
		if err := m.redact(ctx, f, r, s, redaction); err != nil {
			r.lastNotifying.add(msg.Seq, thread) // it may notify somebody when it is matched again
			f.end(err)
			return
		}
	}
	f.pending = m.pending.about(r.id, ev.EventID)
	if err := m.redactArrived(f, r, ev); err != nil {
		r.lastNotifying.add(msg.Seq, thread)
		f.end(err)
		return
	}
	notified := m.notifies(ev, r, f.pending, thread)
	anybody := len(notified) > 0 || msg.Replayed // whose rules may have changed since the first time
	if r.timeline.notified(msg.Seq, anybody); anybody {
		r.lastNotifying.add(msg.Seq, thread)
	}
	err := m.notify(ctx, f, ev, r, thread, notified)
	if err == nil {
		err = m.readByEvent(ctx, f, r, reader, thread)
	}
	f.end(err)
}

// notifies returns whom an event notifies, and counts why it does not notify others. Receipts
// and redactions that arrived before the event are heeded.
func (m *Matcher) notifies(ev *events.RoomEvent, r *room, early []*pendingItem, thread events.EventID) []decision {
	all := m.evaluator.evaluate(ev, r, thread)
	left := without(all, early, ev.Sender, thread)
	m.evaluator.suppressed[events.SuppressRead] += uint64(len(all) - len(left)) //nolint:gosec // never negative
	m.cfg.Counts.suppressed(&m.evaluator.suppressed)
	return left
}

// notify writes the notifications of an event. Of one that is matched again they may be
// stored, by an earlier owner of the partition or by a write without an answer: then
// deliver leaves out who has them.
func (m *Matcher) notify(ctx context.Context, f *fanout, ev *events.RoomEvent, r *room, thread events.EventID, notified []decision) error {
	if len(notified) == 0 || f.msg.Wrote {
		return nil
	}
	f.total = uint64(len(notified))
	draft := m.recorder.draft(f.msg, ev, r, thread)
	conn := m.cfg.Conn
	after := conn.LogEnd()
	spans := slices.Grow(m.spans[:0], len(after))[:len(after)]
	clear(spans)
	m.spans = spans
	if f.msg.Replayed {
		since := m.follower.LogOf(f.msg.Seq)
		draft.since = func(part int) uint64 { return since.At(conn.LogIndex(part)) }
		after = since
	}
	draft.to(notified, conn.Topology().Partitions, m.cfg.Directory)
	for part, message, more := draft.next(); more; part, message, more = draft.next() {
		if err := f.add(ctx, part, message); err != nil {
			return err
		}
		i := conn.LogIndex(part)
		spans[i].After = after.At(i)
		spans[i].Count++
	}
	if f.msg.Replayed { // there may be more
		for i := range spans {
			spans[i] = stream.Span{After: after.At(i)}
		}
	}
	r.timeline.wrote(f.msg.Seq, spans)
	return nil
}
