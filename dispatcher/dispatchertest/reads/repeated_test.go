package reads_test

import (
	"fmt"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// An event that is published again after NATS has forgotten its id is sent once, whatever its
// origin_server_ts: a sender's clock may be ahead.
func TestRepeatedEventNotifiesOnce(t *testing.T) {
	eventstest.Long(t)
	restart := func(h *harness, after time.Duration) { h.Halt(); <-time.After(after); h.Start() }
	stay := func(_ *harness, after time.Duration) { <-time.After(after) }
	for name, tt := range map[string]struct {
		ahead time.Duration // of the sender's clock
		none  bool          // without origin_server_ts
		after time.Duration
		then  func(*harness, time.Duration)
		state bool
	}{
		"by the same worker":           {after: 11 * time.Minute, then: stay},
		"after a restart":              {after: 11 * time.Minute, then: restart},
		"state":                        {after: 11 * time.Minute, then: restart, state: true},
		"clock ahead":                  {ahead: time.Hour, after: 11 * time.Minute, then: restart},
		"state, clock ahead":           {ahead: time.Hour, after: 11 * time.Minute, then: restart, state: true},
		"clock ahead, the same worker": {ahead: time.Hour, after: 65 * time.Minute, then: stay},
		"no time":                      {none: true, after: 11 * time.Minute, then: restart},
		"state without a time":         {none: true, after: 11 * time.Minute, then: restart, state: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.SpanHours()
				h.Register("@bob:x", "gw.test", "bob")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				kind := `"type":"m.room.message"`
				if tt.state {
					kind = `"type":"m.room.tombstone","state_key":""` // it notifies (.m.rule.tombstone)
				}
				sent := fmt.Sprintf(`,"origin_server_ts":%d`, time.Now().Add(tt.ahead).UnixMilli())
				if tt.none {
					sent = ""
				}
				raw := `{"event_id":"$r-0","room_id":"!r","sender":"@alice:x","content":{"msgtype":"m.text","body":"x"},` + kind + sent + `}`
				h.Publish(raw)
				h.Arrived(1)
				h.Receipt("!r", "@bob:x", "m.read", "$r-0", "")
				h.Arrived(2)
				tt.then(h, tt.after)
				h.Publish(raw)
				h.Say("!r", "@alice:x", 1, 1)
				<-time.After(soon)
				if got := h.Badges("bob"); got != "1 [0] 1" {
					t.Errorf("bob got %q", got)
				}
			})
		})
	}
}

// An event that is published again without a message id is sent once.
func TestRepeatedEventWithoutMessageID(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		raw := fmt.Sprintf(`{"event_id":"$r-0","room_id":"!r","sender":"@alice:x","type":"m.room.message","content":{"msgtype":"m.text","body":"x"},"origin_server_ts":%d}`,
			time.Now().UnixMilli())
		h.Publish(raw)
		h.Arrived(1)
		h.Halt()
		h.Start()
		h.Server.Publish("room."+events.Token("!r")+".event", raw)
		<-time.After(soon)
		if got := h.Delivered("bob"); got != "r-0" {
			t.Errorf("bob got %q", got)
		}
	})
}

// A redaction and a receipt that are published again, after others, change nothing.
func TestRepeatedRedactionsAndReceipts(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		redaction := `{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-3"}}`
		h.Publish(redaction)
		h.Receipt("!r", "@bob:x", "m.read", "$r-1", "")
		unreadIs(t, h, "2 4", "[2]")
		h.Halt()
		<-time.After(11 * time.Minute)
		h.Start()
		h.Publish(redaction)
		h.Receipt("!r", "@bob:x", "m.read", "$r-1", "")
		h.Receipt("!r", "@bob:x", "m.read", "$r-0", "")
		unreadIs(t, h, "2 4", "[2]")
		for _, f := range h.Dispatcher.Following() {
			if f.Open > 0 {
				t.Errorf("%d messages of %s are open", f.Open, f.Stage)
			}
		}
	})
}

// An event whose first copy became a dead letter notifies when it is published correctly.
func TestEventNotifiesAfterADeadLetter(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		raw := `{"event_id":"$r-0","room_id":"!r","sender":"@alice:x","type":"m.room.message","content":{"msgtype":"m.text","body":"x"}}`
		h.Server.Publish("room."+events.Token("!r")+".state."+events.Token("m.room.message")+".x", raw)
		<-time.After(soon)
		h.Halt()
		h.Start()
		h.Publish(raw)
		<-time.After(soon)
		if got := h.Delivered("bob"); got != "r-0" {
			t.Errorf("bob got %q", got)
		}
	})
}
