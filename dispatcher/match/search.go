package match

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"poked/events"
	"poked/events/partition"
	"poked/events/stream"
	"poked/events/wait"
)

const (
	// searchesPerRoom and searchesLimit bound how many messages with receipts wait for a
	// search, of one room and of a partition: any member may name events that never existed.
	searchesPerRoom = 64
	searchesLimit   = 256
)

// search is what match has to look up before it can process a message: the sequences of
// events that it does not remember, who has the notifications of a redacted event, and the
// thread of an event that another one relates to.
type search struct {
	msg      partition.Message // is handled again after the search
	room     events.RoomID
	before   uint64           // the room's timeline knows everything from here on
	wanted   []events.EventID // to find
	receipts []events.Receipt // whose events to find
	redacted events.EventID   // to find, with the users who have its notification; "" for none
	target   mark             // of redacted, if that is known
	spans    []stream.Span    // where the messages are that redacted caused; nil if that is not known
	parent   events.EventID   // whose thread to find; "" for none

	found    map[events.EventID]mark // without events that do not exist
	notified []stream.Notified       // the messages that notified users of redacted
	author   events.UserID           // the sender of redacted, if notified is not empty
}

// searches looks up what match does not remember, one search after another, on a goroutine
// of its own: a search may read much, and must not hold up the partition. The message waits
// for its search; if it is a room event, so do the messages that follow in its room.
type searches struct {
	archive *archive
	log     *slog.Logger
	resume  func(partition.Message)
	told    *stream.NotifiedLog // owned by run

	mu       sync.Mutex
	queue    []*search
	wake     chan struct{}
	receipts map[events.RoomID]int // messages with receipts that wait, by room
	waiting  int                   // all of them
	finished map[uint64]*search    // by sequence of the message
}

func newSearches(conn *stream.Conn, archive *archive, log *slog.Logger, resume func(partition.Message)) *searches {
	return &searches{
		archive: archive, log: log, resume: resume, told: conn.NotifiedLog(),
		wake: make(chan struct{}, 1), receipts: map[events.RoomID]int{}, finished: map[uint64]*search{},
	}
}

// take returns the finished search of a message, or nil if there was none.
func (q *searches) take(seq uint64) *search {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.finished[seq]
	delete(q.finished, seq)
	return s
}

// add queues a search for a message of a room, and reports whether it did: not if too many
// receipts wait already.
func (q *searches) add(s search, msg partition.Message, room events.RoomID) bool {
	s.msg, s.room = msg, room
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(s.receipts) > 0 {
		if q.waiting >= searchesLimit || q.receipts[s.room] >= searchesPerRoom {
			return false
		}
		q.waiting++
		q.receipts[s.room]++
	}
	q.queue = append(q.queue, &s)
	wait.Wake(q.wake)
	return true
}

// run performs searches until ctx ends.
func (q *searches) run(ctx context.Context) {
	for {
		s := q.next()
		if s == nil {
			select {
			case <-ctx.Done():
				return
			case <-q.wake:
			case <-q.idle():
				q.told.Forget()
			}
			continue
		}
		failed := func(err error) { q.log.Warn("search waits for nats", "seq", s.msg.Seq, "error", err) }
		if wait.Until(ctx, wait.RetryPause, failed, func() error { return q.perform(ctx, s) }) != nil {
			return // ctx has ended; the message stays open
		}
		q.finish(s)
		q.resume(s.msg)
	}
}

// logKept is how long what was read of NOTIFICATIONS is remembered after it was needed.
const logKept = time.Minute

// idle returns a channel that receives when what was read of NOTIFICATIONS was not needed for
// long, or nil if nothing is remembered.
func (q *searches) idle() <-chan time.Time {
	if !q.told.Remembers() {
		return nil
	}
	return time.After(logKept)
}

func (q *searches) next() *search {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		q.queue = nil
		return nil
	}
	s := q.queue[0]
	q.queue = q.queue[1:]
	return s
}

func (q *searches) finish(s *search) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished[s.msg.Seq] = s
	if len(s.receipts) == 0 {
		return
	}
	q.waiting--
	if q.receipts[s.room]--; q.receipts[s.room] == 0 {
		delete(q.receipts, s.room)
	}
}

// perform looks up what a search needs, cheapest first.
func (q *searches) perform(ctx context.Context, s *search) error {
	wanted := slices.Clone(s.wanted)
	for _, r := range s.receipts {
		wanted = append(wanted, r.Event)
	}
	if s.redacted != "" && s.target.seq == 0 {
		wanted = append(wanted, s.redacted)
	}
	if s.parent != "" {
		wanted = append(wanted, s.parent)
	}
	if s.found = q.known(s.room, wanted); len(s.found) < len(wanted) {
		all := func(p *pastRoom) bool { return p.knowsAll(wanted) }
		if err := q.archive.learn(ctx, s.room, s.before, all); err != nil {
			return err
		}
		s.found = q.known(s.room, wanted)
	}
	if s.redacted == "" {
		return nil
	}
	return q.findRedacted(ctx, s)
}

// known returns the marks of events that the archive knows.
func (q *searches) known(room events.RoomID, wanted []events.EventID) map[events.EventID]mark {
	found := map[events.EventID]mark{}
	for _, id := range wanted {
		if k, _, ok := q.archive.find(room, id); ok {
			found[id] = k
		}
	}
	return found
}

// knowsAll reports whether each of these events is known, and not only as historical.
func (p *pastRoom) knowsAll(wanted []events.EventID) bool {
	return !slices.ContainsFunc(wanted, func(id events.EventID) bool {
		k, found := p.find(id)
		return !found || k.past
	})
}

// findRedacted looks up whom a redacted event notified.
func (q *searches) findRedacted(ctx context.Context, s *search) (err error) {
	k, found := s.target, s.target.seq > 0
	if !found {
		k, found = s.found[s.redacted]
	}
	if !found {
		return nil
	}
	if s.found[s.redacted] = k; k.silent {
		return nil
	}
	s.notified, s.author, err = q.told.Of(ctx, stream.NotifiedAt{
		Room: s.room, RoomSeq: k.seq, Spans: s.spans, Since: k.since(),
	})
	return err
}
