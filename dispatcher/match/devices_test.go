package match

import (
	"bytes"
	"fmt"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/partition"
	"poked/events/pushrule"
)

// Rules for devices cost nothing for users who have none.
func TestDeviceRulesCostOthersNothing(t *testing.T) {
	w := newPopulation(t, 1, nil)
	r := newRoom("!r:x")
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
	one := testing.AllocsPerRun(100, func() { pushrule.NewEvent(ev.Raw, r.rulesRoom(ev.Sender)) })
	all := testing.AllocsPerRun(100, func() { m.evaluator.evaluate(&ev, r, "") })
	if all-one > 20 { // what the event caches while it is evaluated
		t.Errorf("%v allocations to evaluate for 99 users, %v of them for the event", all, one)
	}
	draft := m.recorder.draft(partition.Message{Seq: 1}, &ev, r, "")
	users := 0
	write := func() {
		for _, message := range draft.messages(notified, 4, w.dir) {
			users += bytes.Count(message, []byte(`"user_id"`))
		}
	}
	if n := testing.AllocsPerRun(100, write); n > 60 {
		t.Errorf("%v allocations to write the notifications of 99 users", n)
	}
	draft.since = func(part int) uint64 { return uint64(part)*1000 + 7 }
	for part, message := range draft.messages(notified, 4, w.dir) {
		if m, err := events.ParseLog(message); err != nil || !m.Notify.Again || m.Notify.Since != draft.since(part) {
			t.Errorf("partition %d is told %s, %v", part, message, err)
		}
	}
	if users != 101*99 {
		t.Errorf("%d users are in what was written in 101 rounds", users)
	}
}
