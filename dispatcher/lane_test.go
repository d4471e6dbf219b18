package dispatcher

import "testing"

// What was left open by a predecessor comes again, after the lane was put back
// with all that lies before the cursor still to be told: it takes nothing of
// that away.
func TestLeftOpenNotificationMovesNoTargetBack(t *testing.T) {
	d := newDeliverer(&deliverer{})
	l := &lane{d: d, pusher: &pusher{}, lag: &lag{position: 5, target: 100}}
	l.record.covers = true
	for seq, want := range map[uint64]uint64{50: 100, 3: 100, 100: 100} {
		l.enqueue(&item{seq: seq, waiting: 1})
		if l.lag.target != want {
			t.Errorf("after %d the target is %d, want %d", seq, l.lag.target, want)
		}
	}
	l.enqueue(&item{seq: 101, waiting: 1})
	if l.lag.target != 101 {
		t.Errorf("after 101 the target is %d", l.lag.target)
	}
}

// While nothing is written down of a lagging lane, what comes stays open.
func TestLaneHoldsWhatIsNotCovered(t *testing.T) {
	d := newDeliverer(&deliverer{})
	l := &lane{d: d, pusher: &pusher{}, lag: &lag{position: 5, target: 5}}
	it := &item{seq: 6, waiting: 1}
	l.enqueue(it)
	if it.waiting != 2 {
		t.Errorf("%d reasons to keep the notification open, want 2", it.waiting)
	}
	l.record.covers = true
	it = &item{seq: 7, waiting: 1}
	l.enqueue(it)
	if it.waiting != 1 || len(l.queue) != 0 {
		t.Errorf("%d reasons to keep the notification open, want 1", it.waiting)
	}
}
