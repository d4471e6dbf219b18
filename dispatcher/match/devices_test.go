package match

import (
	"bytes"
	"fmt"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/partition"
)

// Rules for devices cost nothing for users who have none.
func TestDeviceRulesCostOthersNothing(t *testing.T) {
	w := newPopulation(t, 1, nil)
	r := newRoom("!r:x")
	r.name = "Room"
	for i := range 100 {
		id := fmt.Sprintf("@%03d:x", i)
		r.fold(memberEvent(id, "join", ""))
		w.dir.Apply(events.UserPushers{UserID: events.UserID(id), Pushers: []events.Pusher{eventstest.SomePusher(id)}})
	}
	w.dir.ApplyRules(events.UserPushRules{UserID: "@050:x", Changes: eventstest.Keyword("cake")})
	ev, err := events.ParseRoomEvent([]byte(`{"event_id":"$e","room_id":"!r:x","type":"m.room.message","sender":"@000:x","content":{"body":"hello"}}`))
	if err != nil {
		t.Fatal(err)
	}
	m := &Matcher{evaluator: evaluator{directory: w.dir}}
	notified := m.evaluator.evaluate(&ev, r, "")
	if len(notified) != 99 {
		t.Fatalf("%d notified, want 99", len(notified))
	}
	if n := testing.AllocsPerRun(100, func() { m.evaluator.evaluate(&ev, r, "") }); n > 5 { // the words of the text
		t.Errorf("%v allocations to evaluate for 99 users", n)
	}
	draft := m.recorder.draft(partition.Message{Seq: 1}, &ev, r, "")
	users := 0
	write := func() {
		draft.to(notified, 4, w.dir)
		for _, message, more := draft.next(); more; _, message, more = draft.next() {
			users += bytes.Count(message, []byte(`"user_id"`))
		}
	}
	if n := testing.AllocsPerRun(100, write); n > 0 {
		t.Errorf("%v allocations to write the notifications of 99 users", n)
	}
	draft.since = func(part int) uint64 { return uint64(part)*1000 + 7 }
	draft.to(notified, 4, w.dir)
	for part, message, more := draft.next(); more; part, message, more = draft.next() {
		if m, err := events.ParseLog(message); err != nil || !m.Notify.Again || m.Notify.Since != draft.since(part) {
			t.Errorf("partition %d is told %s, %v", part, message, err)
		}
	}
	if users != 101*99 {
		t.Errorf("%d users are in what was written in 101 rounds", users)
	}
}
