package match

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/stream"
)

// Recovery finds out what was stored of events that are matched again: after a crash or a
// take-over, or because a write had no answer. It reads NOTIFICATIONS once, in order, for
// all partitions that ask at the same time, from where the oldest of these events was begun
// ([partition.Position].Log). So the cost grows with what was stored since, and not with
// the number of events, users or messages of a room (G12). All matchers of a dispatcher
// share it.
type Recovery struct {
	conn *stream.Conn
	slot chan struct{} // holds a token while the log is read

	mu   sync.Mutex
	next *reading // the next reading, for those that ask meanwhile
}

// NewRecovery returns a recovery that reads from conn.
func NewRecovery(conn *stream.Conn) *Recovery {
	return &Recovery{conn: conn, slot: make(chan struct{}, 1)}
}

// reading is one reading of the log.
type reading struct {
	after  uint64 // it begins behind this sequence of NOTIFICATIONS
	from   uint64 // the oldest event, by sequence of ROOMS, that somebody asks for
	over   chan struct{}
	stored *storedPart
	err    error
}

// storedLimit is how many notifications one reading remembers at most, at 24 bytes each.
const storedLimit = 1 << 21

// storedPart is what NOTIFICATIONS holds of the events in a range of sequences of ROOMS.
type storedPart struct {
	from, upTo uint64 // the range; upTo is exclusive
	after      uint64 // what is stored of later events is behind this sequence of NOTIFICATIONS
	limit      int
	users      []storedAt               // by event and user
	reads      map[uint64][]events.Read // read markers, by user and room
	failures   uint64                   // of the matcher's writes, when it asked
}

// storedAt is a notification of a user.
type storedAt struct {
	roomSeq uint64
	user    uint64 // hash of the token
	seq     uint64 // in NOTIFICATIONS
}

// stored returns what was stored of the events from a sequence of ROOMS on, behind a
// sequence of NOTIFICATIONS: everything that was stored before the call.
func (r *Recovery) stored(ctx context.Context, after, from uint64) (*storedPart, error) {
	mine := r.join(after, from)
	select {
	case r.slot <- struct{}{}:
		defer func() { <-r.slot }()
	case <-mine.over:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.mu.Lock()
	begins := r.next == mine
	if begins {
		r.next = nil
	}
	r.mu.Unlock()
	if begins {
		mine.stored, mine.err = r.read(ctx, mine.after, mine.from)
		close(mine.over)
	}
	<-mine.over
	return mine.stored, mine.err
}

// join returns the next reading, which begins after this call.
func (r *Recovery) join(after, from uint64) *reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = &reading{after: after, from: from, over: make(chan struct{})}
	}
	r.next.after, r.next.from = min(r.next.after, after), min(r.next.from, from)
	return r.next
}

func (r *Recovery) read(ctx context.Context, after, from uint64) (*storedPart, error) {
	p := newStoredPart(from, storedLimit)
	for msg, err := range r.conn.Pass(ctx, stream.Notifications, ">", after+1) {
		if err != nil {
			return nil, fmt.Errorf("read what was stored: %w", err)
		}
		p.add(msg)
	}
	p.sort()
	return p, nil
}

func newStoredPart(from uint64, limit int) *storedPart {
	return &storedPart{from: from, upTo: ^uint64(0), limit: limit, reads: map[uint64][]events.Read{}}
}

// add adds a message of NOTIFICATIONS. One that cannot be read is a dead letter of deliver.
func (p *storedPart) add(msg stream.Passed) {
	kind, rest, _ := strings.Cut(msg.Subject, ".")
	_, rest, _ = strings.Cut(rest, ".")
	switch events.LogKind(kind) {
	case events.LogNotify:
		user, _, _ := strings.Cut(rest, ".")
		of := gjson.GetBytes(msg.Data, "room_seq").Uint()
		if of >= p.from && of < p.upTo {
			p.users = append(p.users, storedAt{of, maphash.String(idSeed, user), msg.Seq})
		}
	case events.LogRead:
		read, err := events.ParseRead(msg.Data)
		room := rest[:max(strings.LastIndexByte(rest, '.'), 0)]
		if key := maphash.String(idSeed, room); err == nil && read.UpTo >= p.from {
			p.reads[key] = append(p.reads[key], read)
		}
	}
	if len(p.users) > p.limit {
		p.narrow()
	}
}

// narrow halves what is remembered: the later events are left to another reading.
func (p *storedPart) narrow() {
	p.sort()
	upTo := p.users[len(p.users)/2].roomSeq
	if upTo == p.users[0].roomSeq { // one event with more users than the limit
		upTo++
	}
	cut, _ := slices.BinarySearchFunc(p.users, upTo, func(at storedAt, seq uint64) int { return cmp.Compare(at.roomSeq, seq) })
	for _, at := range p.users[cut:] {
		if p.after == 0 || at.seq <= p.after {
			p.after = at.seq - 1
		}
	}
	p.users, p.upTo = p.users[:cut], upTo
}

func (p *storedPart) sort() {
	slices.SortFunc(p.users, compareStored)
}

// compareStored orders notifications by event and user.
func compareStored(a, b storedAt) int {
	return cmp.Or(cmp.Compare(a.roomSeq, b.roomSeq), cmp.Compare(a.user, b.user))
}

// has reports whether a user's log has, or had and the user has read, the notification of an
// event.
func (p *storedPart) has(user events.UserID, room events.RoomID, roomSeq uint64, thread events.EventID) bool {
	token := events.Token(user)
	at := storedAt{roomSeq: roomSeq, user: maphash.String(idSeed, token)}
	_, found := slices.BinarySearchFunc(p.users, at, compareStored)
	return found || slices.ContainsFunc(p.reads[maphash.String(idSeed, token+"."+events.Token(room))], func(read events.Read) bool {
		return read.Covers(roomSeq, thread)
	})
}
