package dispatcher_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/eventstest"
)

// unfit returns JSON values that parsers of push gateways do not accept.
func unfit() []string {
	return []string{
		`"\ud800"`, "\"\xff\"", `1e400`, strings.Repeat("[", 100) + strings.Repeat("]", 100),
		strings.Repeat(`{"a":`, 20_000) + `1` + strings.Repeat(`}`, 20_000),
	}
}

// An event that a gateway could not parse becomes a dead letter and is not sent. The events
// before and after it are.
func TestG1UnreadableEventsAreDeadLetters(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		here := "room." + events.Token("!r") + ".event"
		for i, text := range unfit() {
			h.Server.Publish(here, fmt.Sprintf(`{"event_id":"$bad%d","room_id":"!r","type":"m.room.message","sender":"@alice:x","content":{"body":"x","more":%s}}`, i, text))
			h.Say("!r", "@alice:x", i, 1)
		}
		h.Arrived(len(unfit()))
		<-time.After(time.Second)
		if got := h.Delivered("bob"); got != "r-0 r-1 r-2 r-3 r-4" {
			t.Errorf("bob got %q", got)
		}
		if n := h.Dispatcher.Stats().Skipped; n != uint64(len(unfit())) {
			t.Errorf("%d counted as unreadable", n)
		}
		letters := h.Dead()
		if len(letters) != len(unfit()) {
			t.Errorf("%d dead letters", len(letters))
		}
		for _, letter := range letters {
			if letter.Reason != "bad_event" || letter.Subject != here || letter.RoomID != "!r" {
				t.Errorf("dead letter %q of %q on %s: %s", letter.Reason, letter.RoomID, letter.Subject, letter.Detail)
			}
		}
		if n := strings.Count(h.Log.String(), "unreadable message skipped"); n != len(unfit()) {
			t.Errorf("%d log lines", n)
		}
	})
}

// A member whose membership event cannot be read has left the room, for a dispatcher that
// knows the room and for one that loads it.
func TestStateThatCannotBeReadCountsAsEmpty(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@carl:x", "gw.test", "carl")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@carl:x")
		h.Say("!r", "@alice:x", 0, 1)
		h.Arrived(2)
		leave := fmt.Sprintf(`{"event_id":"$leave","room_id":"!r","type":"m.room.member","sender":"@bob:x","state_key":"@bob:x","content":{"membership":"leave","x":%s}}`, unfit()[3])
		h.Server.Publish("room."+events.Token("!r")+".state."+events.Token("m.room.member")+"."+events.Token("@bob:x"), leave)
		h.Say("!r", "@alice:x", 1, 1)
		h.Arrived(3)
		h.Halt()
		h.Start()
		h.Say("!r", "@alice:x", 2, 1)
		h.Arrived(4)
		<-time.After(time.Second)
		if bob, carl := h.Delivered("bob"), h.Delivered("carl"); bob != "r-0" || carl != "r-0 r-1 r-2" {
			t.Errorf("bob got %q, carl %q", bob, carl)
		}
	})
}

// An event of another room on a subject of this room's state does not change the room when
// a dispatcher loads it.
func TestStateOfAnotherRoomIsIgnored(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		astray := `{"event_id":"$astray","room_id":"!other","type":"m.room.name","sender":"@alice:x","state_key":"","content":{"name":"Other"}}`
		h.Server.Publish("room."+events.Token("!r")+".state."+events.Token("m.room.name")+"._", astray)
		h.Say("!r", "@alice:x", 0, 1)
		h.Arrived(1)
		h.Halt()
		h.Start()
		h.Say("!r", "@alice:x", 1, 1)
		for _, p := range h.Arrived(2) {
			if name := gjson.GetBytes(p.Body, "notification.room_name").Str; strings.Contains(name, "Other") {
				t.Errorf("%s: the room is called %q", p.EventID, name)
			}
		}
	})
}

// A message on a wrong subject becomes a dead letter with its subject. The detail names the
// right one.
func TestDeadLetterNamesTheRightSubject(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Start()
		message := `{"event_id":"$m","room_id":"!r","type":"m.x","sender":"@a:x","content":{}}`
		state := `{"event_id":"$s","room_id":"!r","type":"m.x","sender":"@a:x","state_key":"k","content":{}}`
		receipt := `{"type":"m.receipt","room_id":"!r","content":{"$m":{"m.read":{"@a:x":{"ts":1}}}}}`
		room, other, kind := "room."+events.Token("!r"), "room."+events.Token("!other"), events.Token("m.x")
		placed := room + ".state." + kind + "." + events.Token("k")
		rows := []struct{ subject, data, detail, expected string }{
			{other + ".event", message, "another room", room + ".event"},
			{room + ".state." + kind + "._", message, "no state_key", room + ".event"},
			{room + ".event", state, "has a state_key", placed},
			{room + ".state." + events.Token("m.y") + "." + events.Token("k"), state, "another type", placed},
			{room + ".state." + kind + "._", state, "another state_key", placed},
			{room + ".events", message, "none of a room event", room + ".event"},
			{room + ".event.x", message, "none of a room event", room + ".event"},
			{room + ".state." + kind, state, "none of a room event", placed},
			{"room.*.event", message, "another room", room + ".event"},
			{room + ".state.*.*", state, "another type", placed},
			{room + ".state." + kind + ".>", state, "another state_key", placed},
			{other + ".receipt", receipt, "another room", room + ".receipt"},
			{"room.*.receipt", receipt, "another room", room + ".receipt"},
		}
		for _, row := range rows {
			h.Server.Publish(row.subject, row.data)
		}
		eventstest.WaitFor(t, "dead letters", func() bool { return h.Dispatcher.Stats().Skipped == uint64(len(rows)) })
		<-time.After(time.Second)
		letters := map[string]events.DeadLetter{}
		for _, letter := range h.Dead() {
			letters[letter.Subject+string(letter.Message)] = letter
		}
		for _, row := range rows {
			letter := letters[row.subject+row.data]
			if !strings.Contains(letter.Detail, row.detail) || !strings.Contains(letter.Detail, "published on "+row.subject) || !strings.Contains(letter.Detail, row.expected) {
				t.Errorf("on %s: %q", row.subject, letter.Detail)
			}
		}
	})
}

// An event that a homeserver stored in another partition than its room's, of several streams,
// becomes a dead letter, and a retry puts it where it belongs.
func TestG1EventInAnotherPartition(t *testing.T) {
	eventstest.Long(t)
	t.Setenv("POKED_TEST_STREAMS", "4")
	bubbleOf(t, 8, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		token := events.Token("!r")
		for part := range h.Conn.Topology().Partitions {
			h.Server.Publish(fmt.Sprintf("rooms.%d.%s.event", part, token),
				fmt.Sprintf(`{"event_id":"$r-%d","room_id":"!r","type":"m.room.message","sender":"@alice:x","content":{"body":"x"}}`, part))
		}
		<-time.After(time.Second)
		own := fmt.Sprint("r-", h.Conn.Topology().PartOfRoom("!r"))
		if got := h.Delivered("bob"); got != own {
			t.Errorf("bob got %q, want %s", got, own)
		}
		letters := h.Dead()
		if len(letters) != h.Conn.Topology().Partitions-1 || letters[0].Reason != "bad_event" || letters[0].Subject != "room."+token+".event" {
			t.Fatalf("the dead letters are %+v", letters)
		}
		h.RetryDead()
		h.Arrived(h.Conn.Topology().Partitions)
		if left := h.Dead(); len(left) > 0 {
			t.Errorf("%d dead letters are left", len(left))
		}
	})
}
