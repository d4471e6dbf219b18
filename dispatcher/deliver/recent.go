package deliver

import (
	"cmp"
	"iter"
	"slices"

	"poked/events"
)

// logged is a message of the log that notifies users.
type logged struct {
	seq   uint64
	n     *events.LogNotification
	notes []events.Notification // by decision, made when they are needed
	users []int                 // indexes of n.Users by user id, see index
	bytes int
	older *logged // in recent: the one before it about an event of the same sequence in ROOMS
}

// loggedBytes and userBytes are roughly what a message takes in memory beside its data.
const (
	loggedBytes = 512
	userBytes   = 64
)

func newLogged(seq uint64, n *events.LogNotification) *logged {
	return &logged{
		seq: seq, n: n, notes: make([]events.Notification, len(n.Decisions)),
		bytes: loggedBytes + 2*len(n.Body) + userBytes*len(n.Users) + len(n.Decisions)*(len(n.Body)+loggedBytes),
	}
}

// note returns the notification of the users with a decision.
func (m *logged) note(decision int) *events.Notification {
	n := &m.notes[decision]
	if n.Body == nil {
		*n = m.n.For(decision)
	}
	return n
}

// index prepares of, for a message that lanes catch up with: each of its users asks for theirs.
func (m *logged) index() {
	if m.users != nil {
		return
	}
	m.users = make([]int, len(m.n.Users))
	for i := range m.users {
		m.users[i] = i
	}
	slices.SortStableFunc(m.users, func(a, b int) int { return cmp.Compare(m.n.Users[a].UserID, m.n.Users[b].UserID) })
}

// of returns the notification of a user, or nil if the message is not about the user.
func (m *logged) of(user events.UserID) *events.Notification {
	i, found := slices.BinarySearchFunc(m.users, user, func(i int, user events.UserID) int {
		return cmp.Compare(m.n.Users[i].UserID, user)
	})
	if !found {
		return nil
	}
	return m.note(m.n.Users[m.users[i]].Decision)
}

// recent holds the newest messages of a partition, bounded in bytes: a lane that is only a
// little behind reads them from here. The deliverer's mutex guards it.
type recent struct {
	after   uint64    // it has all messages that notify users after this sequence
	items   []*logged // by sequence
	head    int       // index of the oldest
	bytes   int
	byEvent map[uint64]*logged // the newest by sequence in ROOMS
}

// add adds a message, and drops the oldest ones beyond a limit in bytes.
func (r *recent) add(m *logged, limit int) {
	if r.byEvent == nil {
		r.byEvent = map[uint64]*logged{}
	}
	r.items = append(r.items, m)
	m.older, r.byEvent[m.n.RoomSeq] = r.byEvent[m.n.RoomSeq], m
	r.bytes += m.bytes
	for r.head < len(r.items) && r.bytes > limit {
		r.drop()
	}
	if r.head > len(r.items)/2 {
		n := copy(r.items, r.items[r.head:])
		clear(r.items[n:])
		r.items, r.head = r.items[:n], 0
	}
}

// about yields the messages about the same event.
func (r *recent) about(n *events.LogNotification) iter.Seq[*logged] {
	return func(yield func(*logged) bool) {
		for m := r.byEvent[n.RoomSeq]; m != nil; m = m.older {
			if m.n.EventID == n.EventID && !yield(m) {
				return
			}
		}
	}
}

// drop drops the oldest message.
func (r *recent) drop() {
	m := r.items[r.head]
	r.items[r.head] = nil
	r.head++
	r.bytes -= m.bytes
	r.after = m.seq
	last := r.byEvent[m.n.RoomSeq] // m is the last of these
	if last == m {
		delete(r.byEvent, m.n.RoomSeq)
		return
	}
	for last.older != m {
		last = last.older
	}
	last.older = nil
}

// get returns the message at a sequence, or nil.
func (r *recent) get(seq uint64) *logged {
	live := r.items[r.head:]
	i, found := slices.BinarySearchFunc(live, seq, func(m *logged, seq uint64) int { return cmp.Compare(m.seq, seq) })
	if !found {
		return nil
	}
	return live[i]
}
