package match

import (
	"fmt"
	"testing"

	"poked/events"
	"poked/events/stream"
)

// TestStoredPartIsBounded adds more notifications than one reading remembers. What a reading
// leaves out is found by the next ones, which begin where it says.
func TestStoredPartIsBounded(t *testing.T) {
	const limit, perEvent, count = 100, 7, 200
	var log []stream.Passed
	user := func(i int) events.UserID { return events.UserID(fmt.Sprintf("@u%d:x", i)) }
	for i := range count {
		of := uint64(i/2*2 + 2 - i%2) // each second event is stored before the one that precedes it
		for who := range perEvent {
			log = append(log, stream.Passed{
				Seq:     uint64(len(log)) + 1,
				Subject: "notify.0." + events.Token(user(who)) + "." + events.Token("!r") + "." + events.NoToken,
				Data:    fmt.Appendf(nil, `{"room_seq":%d}`, of),
			})
		}
	}
	readings, after := 0, uint64(0)
	var p *storedPart
	for of := uint64(1); of <= count; of++ {
		if p == nil || of >= p.upTo {
			if p != nil {
				after = p.after
			}
			p = newStoredPart(of, limit)
			for _, msg := range log[after:] {
				p.add(msg)
			}
			p.sort()
			readings++
		}
		for who := range perEvent {
			if !p.has(user(who), "!r", of, "") {
				t.Fatalf("the notification of event %d for user %d is not found", of, who)
			}
		}
		if p.has(user(perEvent), "!r", of, "") || len(p.users) > limit+perEvent {
			t.Fatalf("event %d: a user without notification has one, or %d are remembered", of, len(p.users))
		}
	}
	if readings > count*perEvent*3/limit {
		t.Errorf("%d readings", readings)
	}
}
