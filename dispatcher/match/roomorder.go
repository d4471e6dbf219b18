package match

import (
	"sync"

	"poked/events"
	"poked/events/partition"
)

// roomOrder matches the messages of a room one after another: the next begins when
// everything that the one before it causes is stored. Otherwise NATS could lose the earlier
// of two writes and store the later one, when a leader changes or a connection breaks, and
// the repeated write would be behind it in the user's log.
//
// The goroutine that follows the partition begins messages; the goroutine that learns that
// they are stored ends them.
type roomOrder struct {
	mu    sync.Mutex
	rooms map[string]roomTurn // by the token of the room
}

// roomTurn is one room's message that is being matched or stored, and the messages that
// wait for it.
type roomTurn struct {
	seq  uint64
	next []partition.Message
}

func newRoomOrder() roomOrder { return roomOrder{rooms: map[string]roomTurn{}} }

// begin reports whether it is the turn of a message. If not, end returns the message when
// it is.
func (q *roomOrder) begin(msg partition.Message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	room, _ := events.SplitRoom(msg.Subject)
	t, busy := q.rooms[room]
	switch {
	case !busy:
		t.seq = msg.Seq
	case t.seq != msg.Seq:
		t.next = append(t.next, msg)
	}
	q.rooms[room] = t
	return t.seq == msg.Seq
}

// end ends the turn of a message and returns the next message of the room, if one waits.
func (q *roomOrder) end(msg partition.Message) (next partition.Message, waits bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	room, _ := events.SplitRoom(msg.Subject)
	t := q.rooms[room]
	if len(t.next) == 0 {
		delete(q.rooms, room)
		return partition.Message{}, false
	}
	next = t.next[0]
	q.rooms[room] = roomTurn{seq: next.Seq, next: t.next[1:]}
	return next, true
}
