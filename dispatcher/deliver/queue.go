package deliver

import "time"

// queue is a doubly linked list of lanes. A lane is in one queue at most, by its node, so a
// queue takes no memory for its lanes, and a lane can leave from anywhere. The mutex of the
// gateways guards queues and nodes.
type queue struct {
	first, last *lane
	n           int
}

// node is a lane's place in a queue, and at its gateway.
type node struct {
	gate       *gateway // where it was submitted last
	in         *queue   // nil if it is in none
	prev, next *lane
	since      time.Time // when it joined the queue, or when its attempt began
	unfailed   bool      // its next poke has not failed yet
	late       bool      // its attempt takes longer than Patience
}

// isProbe reports whether the lane of the node is its gateway's probe.
func (s *node) isProbe(l *lane) bool { return s.gate != nil && s.gate.breaker.probe == l }

// push adds a lane, which is in no queue, at the end.
func (q *queue) push(l *lane) {
	l.node.in, l.node.prev, l.node.next = q, q.last, nil
	if q.last == nil {
		q.first = l
	} else {
		q.last.node.next = l
	}
	q.last = l
	q.n++
}

// pushFront adds a lane, which is in no queue, before all others.
func (q *queue) pushFront(l *lane) {
	l.node.in, l.node.prev, l.node.next = q, nil, q.first
	if q.first == nil {
		q.last = l
	} else {
		q.first.node.prev = l
	}
	q.first = l
	q.n++
}

// leave removes a lane from its queue, if it is in one.
func (l *lane) leave() {
	s := &l.node
	if s.in == nil {
		return
	}
	if s.prev == nil {
		s.in.first = s.next
	} else {
		s.prev.node.next = s.next
	}
	if s.next == nil {
		s.in.last = s.prev
	} else {
		s.next.node.prev = s.prev
	}
	s.in.n--
	s.in, s.prev, s.next = nil, nil, nil
}
