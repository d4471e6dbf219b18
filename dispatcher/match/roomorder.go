package match

import (
	"strings"
	"sync"

	"poked/events/partition"
)

// roomOrder has the messages of a room matched one after another: the next begins
// when all is stored that the one before it brought about. NATS may lose the
// earlier of two writes and store the later, when a leader goes or a connection
// breaks; what is then written again would stand after it in its user's log.
//
// Messages are taken by the goroutine that follows the partition, and settled by
// whoever hears that they are stored.
type roomOrder struct {
	mu    sync.Mutex
	rooms map[string]roomTurn // by the token of the room
}

// roomTurn is one room's message that is being matched or stored, and what waits for it.
type roomTurn struct {
	seq  uint64
	next []partition.Message
}

// splitRoom returns the token of the room on whose subject a message of ROOMS was
// published, and what follows it: room.<room>.<rest>.
func splitRoom(msg partition.Message) (room, rest string) {
	_, subject, _ := strings.Cut(msg.Published(), ".")
	room, rest, _ = strings.Cut(subject, ".")
	return room, rest
}

func newRoomOrder() roomOrder { return roomOrder{rooms: map[string]roomTurn{}} }

// begin says whether it is the turn of a message. If not, settle hands it out when
// it is.
func (q *roomOrder) begin(msg partition.Message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	room, _ := splitRoom(msg)
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

// settle ends the turn of a message and returns whose turn it is now, if any
// waits.
func (q *roomOrder) settle(msg partition.Message) (next partition.Message, waits bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	room, _ := splitRoom(msg)
	t := q.rooms[room]
	if len(t.next) == 0 {
		delete(q.rooms, room)
		return partition.Message{}, false
	}
	next = t.next[0]
	q.rooms[room] = roomTurn{seq: next.Seq, next: t.next[1:]}
	return next, true
}
