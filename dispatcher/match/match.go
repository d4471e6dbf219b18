// Package match turns room events into notifications: it follows partitions of ROOMS and
// writes, for each user whom an event notifies, one message to NOTIFICATIONS.
//
//	ROOMS ──▶ Matcher ──▶ room (state, audience, timeline) ──▶ evaluate ──▶ fanout ──▶ NOTIFICATIONS
//	            │              receipts, redactions ──▶ what was read ──────────┘
//	            └──▶ searches ──▶ archive: events that are older than what is remembered
//
// A room event is done when all that it brings about is stored, and only then the next
// one of its room begins (roomOrder), so that a room's notifications stand in its order
// (G3). A receipt or redaction that comes before its event waits for it for ten minutes
// (pending). Where an event stands that the room's timeline does not remember is looked
// up beside the goroutine that follows the partition, and once for each room (archive),
// so that no receipt holds up a partition (G12).
//
// # What fails, and how
//
//	notification not stored  the event is matched again; who has the notification already is left out
//	NATS slower than match   match waits: a bounded number of bytes is written and not stored
//	read not stored          the receipt stays open and is taken again
//	message cannot be read   dead letter, counted and logged; the walk goes on
//	event published again    it notifies nobody
//	killed at any point      the successor matches again what may not have been stored
//
// Match imports no lane and no gateway: who is notified does not depend on what becomes
// of it.
package match

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"poked/dispatcher/directory"
	"poked/events"
	"poked/events/partition"
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
	writing  atomic.Int64 // fanouts that are not stored, and have not failed
	pending  pending
	turns    roomOrder

	// Buffers that live from one event to the next.
	recorder recorder
	verdicts []verdict
	notified []decision
}

// Config is what the matchers of all partitions of a dispatcher share.
type Config struct {
	Conn         *stream.Conn
	Directory    *directory.Directory
	Lease        *partition.Lease
	Counts       *Counters
	Owned        *atomic.Int64       // partitions of the dispatcher, among which the memory for rooms is divided
	Unstored     *semaphore.Weighted // bytes that may still be written, see newUnstored
	EveryReceipt bool                // deliver wants to know of every receipt, even of one that clears nothing
	OpenRooms    int                 // rooms whose state is kept in memory, by all matchers together
	Log          *slog.Logger
}

// New returns the matcher of the partition that f follows.
func New(cfg Config, f *partition.Follower) (*Matcher, error) {
	rooms, err := newRooms(cfg.Conn, cfg.OpenRooms, f.Cursor())
	if err != nil {
		return nil, err
	}
	archive, err := newArchive(cfg.Conn)
	if err != nil {
		return nil, err
	}
	return &Matcher{
		cfg: cfg, follower: f, rooms: rooms, archive: archive,
		searches: newSearches(cfg.Conn, archive, cfg.Log, f.Resume), turns: newRoomOrder(),
	}, nil
}

// matchGrace is how long a stop waits for notifications to be stored.
const matchGrace = 5 * time.Second

// Run follows the partition until ctx ends, and then waits for what is being stored,
// for as long as drain allows and matchGrace at most.
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

// Counters count what match has done since the dispatcher began. All partitions
// share them.
type Counters struct {
	RoomEvents    atomic.Uint64 // taken in
	Notifications atomic.Uint64 // stored
	Skipped       atomic.Uint64 // messages of ROOMS that could not be read
}

func (m *Matcher) handler() partition.Handler {
	return partition.Handler{Handle: m.handle, Tick: m.tick, Lease: m.cfg.Lease}
}

func (m *Matcher) tick(_ context.Context, now time.Time) {
	m.pending.expire(now)
	m.rooms.divide(int(m.cfg.Owned.Load()))
	m.archive.divide(int(m.cfg.Owned.Load()))
}

// handle matches one message of ROOMS, or puts it off until the one before it in
// its room is stored. It returns early only when ctx ends; then the message stays
// open and comes again.
func (m *Matcher) handle(ctx context.Context, msg partition.Message) {
	if !m.turns.begin(msg) {
		return
	}
	if _, rest := splitRoom(msg); rest == "receipt" {
		m.readReceipts(ctx, msg)
		return
	}
	ev, err := events.ParsePublished(msg.Published(), msg.Data)
	if err != nil {
		m.forget(msg)
		m.bury(msg, events.DeadBadEvent, err)
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
	reader := readerOf(&ev, r)
	if ev.IsState {
		r.fold(&ev)
	}
	r.seq = msg.Seq
	switch {
	case repeated:
		m.done(msg)
	case msg.Historical:
		r.timeline.addPast(ev.EventID, msg.Seq, msg.Time, m.threadOf(r, ev.Content))
		m.done(msg)
	default:
		m.match(ctx, msg, &ev, r, s, reader)
	}
}

// search begins to look up what is not known of a room event: whether it is a
// repetition, and who has the notification of the event that it redacts. It reports
// whether there is anything; then the event, and its room, wait until that is over.
func (m *Matcher) search(r *room, ev *events.RoomEvent, msg partition.Message, repeated, known bool) bool {
	s := &search{msg: msg, room: r.id, before: r.timeline.from}
	if !known {
		s.wanted = append(s.wanted, ev.EventID)
	}
	if target := redactedBy(ev); target != "" && !repeated && !msg.Historical {
		s.redacted, s.target = m.toRedact(r, ev, target)
	}
	return (len(s.wanted) > 0 || s.redacted != "") && m.searches.add(s)
}

// forget empties what an unreadable message has taken the place of, as who reads
// the room's state again finds it: a member whose leave cannot be read is not told
// any longer what is said in the room.
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

// done is for a message that brings nothing about.
func (m *Matcher) done(msg partition.Message) {
	m.follower.Done(msg.Seq)
	m.settled(msg)
}

// bury passes a message that cannot be read. Its room need not wait until its dead
// letter is stored.
func (m *Matcher) bury(msg partition.Message, reason events.DeadReason, detail error) {
	f := m.newFanout(msg)
	f.passed = true
	f.addDead(msg.Dead(reason, detail))
	f.end(nil)
	m.settled(msg)
}

// settled has the next message of a room matched: all is stored of the one whose
// turn it was.
func (m *Matcher) settled(msg partition.Message) {
	if next, waits := m.turns.settle(msg); waits {
		m.follower.Resume(next)
	}
}

func (m *Matcher) failed(err error) {
	m.cfg.Log.Warn("match waits for nats", "error", err)
}

// match decides who is notified and writes the notifications down, and then what
// the event says of notifications before it. The room event is done when all is
// stored; if that is not certain it is matched again, as a replayed one.
func (m *Matcher) match(ctx context.Context, msg partition.Message, ev *events.RoomEvent, r *room, s *search, reader events.UserID) {
	f := m.newFanout(msg)
	thread := m.threadOf(r, ev.Content)
	r.timeline.add(ev.EventID, msg.Seq, msg.Time, thread)
	if target := redactedBy(ev); target != "" {
		if err := m.redact(ctx, f, r, s, target); err != nil {
			r.lastNotifying.add(msg.Seq, thread) // it may notify somebody when it comes again
			f.end(err)
			return
		}
	}
	f.pending = m.pending.about(r.id, ev.EventID)
	notified := without(m.evaluate(ev, r), f.pending, thread)
	anybody := len(notified) > 0 || msg.Replayed // or rules have changed since it was matched first
	if r.timeline.notified(msg.Seq, anybody); anybody {
		r.lastNotifying.add(msg.Seq, thread)
	}
	err := m.notify(ctx, f, ev, r, thread, notified)
	if err == nil {
		err = m.readByEvent(ctx, f, r, reader, f.pending)
	}
	f.end(err)
}

// notify writes the notifications of an event.
func (m *Matcher) notify(ctx context.Context, f *fanout, ev *events.RoomEvent, r *room, thread events.EventID, notified []decision) error {
	if f.msg.Replayed {
		var err error
		if notified, err = m.withoutStored(ctx, f.msg, ev, thread, notified); err != nil {
			return err
		}
	}
	if len(notified) == 0 {
		return nil
	}
	f.total = uint64(len(notified))
	draft := m.recorder.draft(f.msg, ev, r, thread)
	for i := range notified {
		to := notified[i].member.id
		record := m.recorder.withRevision(draft.of(&notified[i]), m.cfg.Directory.Revision(to))
		if err := f.add(ctx, to, ev.RoomID, thread, record); err != nil {
			return err
		}
	}
	return nil
}

// askOneByOne is for how few users each one's log is asked for a notification.
const askOneByOne = 8

// withoutStored leaves out whose notification a worker before us has stored, and
// who has read it since.
func (m *Matcher) withoutStored(ctx context.Context, msg partition.Message, ev *events.RoomEvent, thread events.EventID, notified []decision) ([]decision, error) {
	if len(notified) == 0 {
		return nil, nil
	}
	var stored map[events.UserID]bool
	var reads map[events.UserID][]events.Read
	err := wait.Until(ctx, wait.RetryPause, m.failed, func() (err error) {
		if stored, err = m.stored(ctx, msg, ev, thread, notified); err == nil {
			reads, err = m.cfg.Conn.ReadsSince(ctx, ev.RoomID, msg.Time)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(notified, func(d decision) bool {
		return stored[d.member.id] || slices.ContainsFunc(reads[d.member.id], func(read events.Read) bool {
			return read.Covers(msg.Seq, thread)
		})
	}), nil
}

// stored returns who of those that an event notifies has the notification.
func (m *Matcher) stored(ctx context.Context, msg partition.Message, ev *events.RoomEvent, thread events.EventID, notified []decision) (map[events.UserID]bool, error) {
	stored := map[events.UserID]bool{}
	if len(notified) > askOneByOne {
		all, err := m.cfg.Conn.WithNotification(ctx, ev.RoomID, msg.Seq, msg.Time)
		for id := range all {
			stored[id] = true
		}
		return stored, err
	}
	for i := range notified {
		id := notified[i].member.id
		has, err := m.cfg.Conn.HasNotification(ctx, id, ev.RoomID, thread, msg.Seq, msg.Time)
		if err != nil {
			return nil, err
		}
		stored[id] = has
	}
	return stored, nil
}
