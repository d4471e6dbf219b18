package deliver

import (
	"testing"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
)

// A restored lane has to send everything up to the cursor. Messages that the last owner left
// open arrive again, and do not lower its target.
func TestLeftOpenNotificationMovesNoTargetBack(t *testing.T) {
	d := New(Config{Counts: &Counters{}})
	l := &lane{d: d, pusher: &directory.Pusher{}, lag: &lag{position: 5, target: 100}}
	l.record.covers = true
	for seq, want := range map[uint64]uint64{50: 100, 3: 100, 100: 100} {
		l.enqueue(&item{seq: seq, n: new(events.Notification), waiting: 1})
		if l.lag.target != want {
			t.Errorf("after %d the target is %d, want %d", seq, l.lag.target, want)
		}
	}
	l.enqueue(&item{seq: 101, n: new(events.Notification), waiting: 1})
	if l.lag.target != 101 {
		t.Errorf("after 101 the target is %d", l.lag.target)
	}
}

// While a lagging lane has no stored record, the notifications that arrive stay open.
func TestLaneHoldsWhatIsNotCovered(t *testing.T) {
	d := New(Config{Counts: &Counters{}})
	l := &lane{d: d, pusher: &directory.Pusher{}, lag: &lag{position: 5, target: 5}}
	it := &item{seq: 6, n: new(events.Notification), waiting: 1}
	l.enqueue(it)
	if it.waiting != 2 {
		t.Errorf("%d reasons to keep the notification open, want 2", it.waiting)
	}
	l.record.covers = true
	it = &item{seq: 7, n: new(events.Notification), waiting: 1}
	l.enqueue(it)
	if it.waiting != 1 || len(l.queue) != 0 {
		t.Errorf("%d reasons to keep the notification open, want 1", it.waiting)
	}
}

// A lane whose turn is over keeps nothing of what it has read from the log.
func TestG7LaneWhoseTurnIsOverKeepsNoPage(t *testing.T) {
	gs, _ := idleGateways(10, 1, 1)
	d := New(Config{Gates: gs, Counts: &Counters{}})
	l := &lane{d: d, pusher: &directory.Pusher{}, scheduled: true}
	l.lag = &lag{position: 5, target: 100, turn: turnLength - 2, read: true, end: 9, items: make([]logItem, 4)}
	l.resubmit(poke.Outcome{})
	if len(l.lag.items) != 4 || !l.lag.read {
		t.Error("what was read was dropped before the turn was over")
	}
	l.resubmit(poke.Outcome{})
	if l.lag.items != nil || l.lag.read || l.lag.position != 5 {
		t.Errorf("%d notifications are kept, at %d", len(l.lag.items), l.lag.position)
	}
}

// A pusher that is removed while its record in BACKLOG is being deleted leaves nothing in
// memory.
func TestG7LaneThatEndsWhileItsRecordIsDeletedIsForgotten(t *testing.T) {
	gs, _ := idleGateways(10, 1, 1)
	d := New(Config{Gates: gs, Counts: &Counters{}})
	l := &lane{d: d, pusher: &directory.Pusher{ID: "p"}}
	l.record.writing = true // it has caught up
	d.backlog.writing = 1
	l.remove()
	if d.ending["p"] != l {
		t.Fatal("the lane is forgotten before its record is deleted")
	}
	l.saved(false, nil)
	d.backlog.take()
	if len(d.ending) > 0 || d.backlog.writing != 0 {
		t.Errorf("%d lanes are still ending", len(d.ending))
	}
}
