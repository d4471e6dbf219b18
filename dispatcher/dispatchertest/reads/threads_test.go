package reads_test

import (
	"fmt"
	"testing"
	"time"

	"poked/events/eventstest"
)

// relate publishes a message with a relation.
func (h *harness) relate(id, sender, kind, target string) {
	h.T.Helper()
	h.Publish(fmt.Sprintf(`{"event_id":%q,"room_id":"!r","type":"m.room.message","sender":%q,"origin_server_ts":%d,
		"content":{"msgtype":"m.text","body":"x","m.relates_to":{"rel_type":%q,"event_id":%q}}}`, id, sender, time.Now().UnixMilli(), kind, target))
}

// A vote, a reference or another child of a message in a thread is in that thread, also if
// match does not remember that message any more.
func TestChildOfAMessageInAThread(t *testing.T) {
	eventstest.Long(t)
	for name, between := range map[string]func(h *harness){
		"at once":          func(*harness) {},
		"after a restart":  func(h *harness) { h.Halt(); h.Start() },
		"after a crash":    func(h *harness) { h.Kill(); h.Start(); <-time.After(10 * time.Second) }, // until it has taken over
		"out of memory":    func(h *harness) { h.Room("!other", "@alice:x"); <-time.After(soon) },
		"1 100 events ago": func(h *harness) { h.Say("!r", "@bob:x", 0, 1100); <-time.After(soon) },
		"hours ago":        func(h *harness) { h.Halt(); <-time.After(3 * time.Hour); h.Start() },
	} {
		t.Run(name, func(t *testing.T) {
			bubbleOf(t, 1, func(t *testing.T, h *harness) {
				h.SpanHours()
				h.Config.OpenRooms = 1
				h.Register("@bob:x", "gw.test", "bob")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				h.relate("$poll", "@alice:x", "m.thread", "$root")
				h.Arrived(1)
				between(h)
				h.relate("$vote", "@alice:x", "org.example.vote", "$poll")
				h.relate("$edit", "@alice:x", "m.reference", "$vote")
				<-time.After(soon)
				h.Receipt("!r", "@bob:x", "m.read", "$edit", `,"thread_id":"main"`)
				<-time.After(soon)
				log := h.LogOf("@bob:x")
				if n := len(log); n < 2 || log[n-1] != "$edit" || log[n-2] != "$vote" {
					t.Errorf("bob read the main timeline, and has unread %v", log)
				}
				h.Receipt("!r", "@bob:x", "m.read", "$edit", `,"thread_id":"$root"`)
				<-time.After(soon)
				if log := h.LogOf("@bob:x"); len(log) != 0 {
					t.Errorf("bob read the thread, and has unread %v", log)
				}
			})
		})
	}
}

// Events that relate to what ROOMS does not hold make match read the room once.
func TestG12UnknownParentsReadTheirRoomOnce(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.relate("$first", "@alice:x", "m.reference", "$none")
		h.Arrived(1)
		read := h.reads("")
		for i := range 20 {
			h.relate(fmt.Sprintf("$v-%d", i), "@alice:x", "m.reference", fmt.Sprintf("$none-%d", i))
		}
		h.Arrived(21)
		if read() {
			t.Error("a relation made the dispatcher read NATS again")
		}
	})
}

// A message that notifies nobody, such as a reaction, makes match read nothing.
func TestReactionReadsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 1)
		h.Arrived(1)
		read := h.reads("")
		h.Publish(fmt.Sprintf(`{"event_id":"$re","room_id":"!r","type":"m.reaction","sender":"@alice:x","origin_server_ts":%d,
			"content":{"m.relates_to":{"rel_type":"m.annotation","event_id":"$none","key":"x"}}}`, time.Now().UnixMilli()))
		<-time.After(soon)
		if read() {
			t.Error("a reaction made the dispatcher read NATS")
		}
	})
}

// A user's own message in a thread reads that thread and no other; any other own message
// reads the room (client-server API, "Marking notifications as read").
func TestOwnMessageReadsItsThread(t *testing.T) {
	for name, row := range map[string]struct{ kind, target, unread string }{
		"in the thread":     {"m.thread", "$root", "[$main $other]"},
		"a vote in it":      {"m.reference", "$in", "[$main $other]"},
		"in another thread": {"m.thread", "$new", "[$main $in $other]"},
		"main":              {"m.reference", "$main", "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Register("@bob:x", "gw.test", "bob")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				h.Publish(`{"event_id":"$main","room_id":"!r","type":"m.room.message","sender":"@alice:x","content":{"msgtype":"m.text","body":"x"}}`)
				h.relate("$in", "@alice:x", "m.thread", "$root")
				h.relate("$other", "@alice:x", "m.thread", "$second")
				h.Arrived(3)
				h.relate("$own", "@bob:x", row.kind, row.target)
				<-time.After(soon)
				if got := fmt.Sprint(h.LogOf("@bob:x")); got != row.unread {
					t.Errorf("bob has unread %s, want %s", got, row.unread)
				}
			})
		})
	}
}
