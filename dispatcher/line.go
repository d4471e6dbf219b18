package dispatcher

import "time"

// line is a queue of lanes. A lane stands in one line at most, at its spot, so
// that a line costs nothing for who stands in it and anyone can leave from
// anywhere. The mutex of the gateways guards lines and spots.
type line struct {
	first, last *lane
	n           int
}

// spot is where a lane stands among those who want a slot or have one.
type spot struct {
	gate       *gateway // where it was submitted last
	in         *line    // nil if it stands in none
	prev, next *lane
	since      time.Time // when it came to stand in the line, or when its attempt began
	unfailed   bool      // what it has to tell has not failed yet
	late       bool      // its attempt has been out for longer than patience
}

// isProbe says whether the lane of the spot is to find out how its gateway is.
func (s *spot) isProbe(l *lane) bool { return s.gate != nil && s.gate.breaker.probe == l }

// push puts a lane that stands nowhere at the end.
func (q *line) push(l *lane) {
	l.spot.in, l.spot.prev, l.spot.next = q, q.last, nil
	if q.last == nil {
		q.first = l
	} else {
		q.last.spot.next = l
	}
	q.last = l
	q.n++
}

// pushFront puts a lane that stands nowhere before all others.
func (q *line) pushFront(l *lane) {
	l.spot.in, l.spot.prev, l.spot.next = q, nil, q.first
	if q.first == nil {
		q.last = l
	} else {
		q.first.spot.prev = l
	}
	q.first = l
	q.n++
}

// leave takes a lane out of its line, if it stands in one.
func (l *lane) leave() {
	s := &l.spot
	if s.in == nil {
		return
	}
	if s.prev == nil {
		s.in.first = s.next
	} else {
		s.prev.spot.next = s.next
	}
	if s.next == nil {
		s.in.last = s.prev
	} else {
		s.next.spot.prev = s.prev
	}
	s.in.n--
	s.in, s.prev, s.next = nil, nil, nil
}
