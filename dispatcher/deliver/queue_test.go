package deliver

import (
	"slices"
	"testing"
	"time"
)

// order returns the numbers of the lanes in a queue, checked from both ends.
func (q *queue) order(t *testing.T, all []*lane) []int {
	t.Helper()
	var there, back []int
	for l := q.first; l != nil; l = l.node.next {
		there = append(there, slices.Index(all, l))
	}
	for l := q.last; l != nil; l = l.node.prev {
		back = append(back, slices.Index(all, l))
	}
	slices.Reverse(back)
	if !slices.Equal(there, back) || q.n != len(there) {
		t.Errorf("%v from the front, %v from the back, %d counted", there, back, q.n)
	}
	return there
}

func TestLine(t *testing.T) {
	all := lanes(5)
	var q queue
	for _, l := range all[1:] {
		q.push(l)
	}
	q.pushFront(all[0])
	for _, step := range []struct {
		leaves int
		want   []int
	}{
		{2, []int{0, 1, 3, 4}}, {2, []int{0, 1, 3, 4}}, {0, []int{1, 3, 4}}, {4, []int{1, 3}}, {1, []int{3}}, {3, nil},
	} {
		all[step.leaves].leave()
		if got := q.order(t, all); !slices.Equal(got, step.want) {
			t.Errorf("after %d left: %v, want %v", step.leaves, got, step.want)
		}
	}
	q.pushFront(all[3])
	if got := q.order(t, all); !slices.Equal(got, []int{3}) {
		t.Errorf("first in an empty queue: %v", got)
	}
}

func TestCalendarIsNeverEarly(t *testing.T) {
	now := time.Now()
	for _, after := range []time.Duration{-time.Hour, 0, 1, SlotLength - 1, SlotLength, time.Minute + 1, time.Hour} {
		c, l, due := newWheel(now), &lane{}, now.Add(after)
		c.at(due).lanes.push(l)
		early := func(p *wheelSlot) bool { return p != nil && p.lanes.n > 0 }
		if after > 0 && early(c.take(due.Add(-1))) {
			t.Errorf("what is due after %v was taken too early", after)
		}
		if l.node.in == nil || !early(c.take(now.Add(max(after, 0)+2*SlotLength))) {
			t.Errorf("what is due after %v was not taken", after)
		}
		if len(c.slots) != 0 {
			t.Errorf("%d slots are left", len(c.slots))
		}
	}
}
