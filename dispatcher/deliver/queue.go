package deliver

import "time"

// queue is a queue of lanes. A lane stands in one line at most, at its spot, so
// that a line costs nothing for who stands in it and anyone can leave from
// anywhere. The mutex of the gateways guards lines and spots.
type queue struct {
	first, last *lane
	n           int
}

// node is where a lane stands among those who want a slot or have one.
type node struct {
	gate       *gateway // where it was submitted last
	in         *queue   // nil if it stands in none
	prev, next *lane
	since      time.Time // when it came to stand in the line, or when its attempt began
	unfailed   bool      // what it has to tell has not failed yet
	late       bool      // its attempt has been out for longer than patience
}

// isProbe says whether the lane of the spot is to find out how its gateway is.
func (s *node) isProbe(l *lane) bool { return s.gate != nil && s.gate.breaker.probe == l }

// push puts a lane that stands nowhere at the end.
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

// pushFront puts a lane that stands nowhere before all others.
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

// leave takes a lane out of its line, if it stands in one.
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
