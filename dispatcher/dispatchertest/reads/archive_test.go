package reads_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/publish"
)

// reads returns a function that reports whether the dispatcher has read from a stream since.
// The empty name is every stream.
func (h *harness) reads(stream string) (happened func() bool) {
	direct := h.Link.Break("$JS.API.DIRECT.GET."+stream, natstest.Refuse)
	leader := h.Link.Break("$JS.API.STREAM.MSG.GET."+stream, natstest.Refuse)
	return func() bool { return direct() || leader() }
}

// A receipt for an event that is older than the timeline, or that does not exist, makes the
// dispatcher read the room from NATS once, and never again.
func TestG12OldReceiptsReadTheirRoomOnce(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		const many = 2048              // more than a timeline remembers
		h.Say("!r", "@bob:x", 0, many) // bob's own messages are read
		h.Say("!r", "@alice:x", many, 3)
		h.Arrived(3)
		read := h.reads("ROOMS")
		h.Receipt("!r", "@bob:x", "m.read", "$none", "")
		<-time.After(soon)
		if !read() {
			t.Fatal("the room was not read")
		}
		h.Link.Spare()
		read = h.reads("")
		for i := range 20 {
			h.Receipt("!r", "@bob:x", "m.read", events.EventID(fmt.Sprintf("$r-%d", 5*i)), "")
			h.Receipt("!r", "@bob:x", "m.read", events.EventID(fmt.Sprintf("$none-%d", i)), "")
		}
		<-time.After(soon)
		if read() {
			t.Error("a receipt made the dispatcher read NATS again")
		}
		if log := h.LogOf("@bob:x"); len(log) != 3 {
			t.Errorf("bob has unread %v", log)
		}
	})
}

// While a room is searched for an event, messages of this room and others are delivered.
func TestG12SearchForAnOldEventStopsNobody(t *testing.T) {
	bubbleOf(t, 1, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Room("!other", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 1)
		h.Say("!other", "@alice:x", 0, 1)
		h.Arrived(2)
		h.Link.Refuse("$JS.API.STREAM.MSG.GET.ROOMS", 1000) // no search ends
		for i := range 1100 {                               // more than a partition keeps open
			h.Receipt("!r", "@bob:x", "m.read", events.EventID(fmt.Sprintf("$none-%d", i)), "")
		}
		<-time.After(soon)
		h.Say("!r", "@alice:x", 1, 1)
		h.Say("!other", "@alice:x", 1, 1)
		<-time.After(soon)
		h.Receipt("!other", "@bob:x", "m.read", "$other-1", "")
		<-time.After(soon)
		if got := h.Delivered("bob"); got != "r-0 other-0 r-1 other-1 " {
			t.Errorf("bob got %q", got)
		}
		if log := h.LogOf("@bob:x"); !slices.Equal(log, []events.EventID{"$r-0", "$r-1"}) {
			t.Errorf("bob has unread %v", log)
		}
	})
}

// Receipts clear an unread notification also when ROOMS does not hold its event any more:
// the user's own entries name it.
func TestUnreadEventThatROOMSHasDropped(t *testing.T) {
	restart := func(h *harness) { h.Halt(); h.Start() }
	leaveMemory := func(h *harness) {
		h.Room("!other", "@alice:x", "@bob:x")
		h.Say("!other", "@bob:x", 0, 1)
		<-time.After(soon)
	}
	read := func(h *harness) { h.Receipt("!r", "@bob:x", "m.read", "$r-2", "") }
	afterRead := []events.EventID{"$r-3", "$r-4"}
	for name, tt := range map[string]struct {
		between, then func(*harness)
		released      []events.EventID
	}{
		"receipt after a restart":            {restart, read, afterRead},
		"receipt after the room left memory": {leaveMemory, read, afterRead},
	} {
		t.Run(name, func(t *testing.T) {
			bubbleOf(t, 1, func(t *testing.T, h *harness) {
				h.Config.OpenRooms = 1
				h.Register("@bob:x", "gw.test", "bob")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				h.Say("!r", "@alice:x", 0, 5)
				h.Arrived(5)
				tt.between(h)
				h.Server.Purge("ROOMS")
				tt.then(h)
				<-time.After(soon)
				if log := h.LogOf("@bob:x"); !slices.Equal(log, tt.released) {
					t.Errorf("bob has unread %v", log)
				}
			})
		})
	}
}

// A redaction finds the notification of an event that was published live, and again as
// historical.
func TestRedactionOfALiveEventRepeatedAsHistorical(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Halt()
		<-time.After(11 * time.Minute)
		h.Start()
		raw := `{"event_id":"$r-2","room_id":"!r","type":"m.room.message","sender":"@alice:x","content":{"msgtype":"m.text","body":"hello 2"}}`
		if err := publish.NewPublisher(h.Conn).Event(t.Context(), []byte(raw), publish.Historical()); err != nil {
			t.Fatal(err)
		}
		h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-2"}}`)
		unreadIs(t, h, "0 1 3 4", "[4]")
	})
}

// An event is matched a second time because it could not be stored. Rules have changed
// since, and only now it notifies. Receipts and redactions clear that notification too.
func TestEventThatNotifiesOnlyTheSecondTime(t *testing.T) {
	for name, clear := range map[string]func(h *harness){
		"read": func(h *harness) { h.Receipt("!r", "@bob:x", "m.read", "$r-5", "") },
		"redacted": func(h *harness) {
			h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-5"}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			unreadRoom(t, func(t *testing.T, h *harness) {
				h.Register("@alice:x", "gw.test", "alice") // so that her own receipt is stored
				h.Receipt("!r", "@bob:x", "m.read", "$r-4", "")
				h.Rules("@bob:x", events.UserPushRules{Changes: dispatchertest.Master()})
				h.Link.Refuse("log.", int(5*time.Second/h.Own.TickInterval()))
				h.Say("!r", "@alice:x", 5, 1)
				<-time.After(time.Second)
				h.Rules("@bob:x", events.UserPushRules{})
				<-time.After(10 * time.Second)
				if log := h.LogOf("@bob:x"); !slices.Equal(log, []events.EventID{"$r-5"}) {
					t.Fatalf("bob has unread %v", log)
				}
				clear(h)
				<-time.After(soon)
				if log := h.LogOf("@bob:x"); len(log) > 0 {
					t.Errorf("bob has unread %v", log)
				}
			})
		})
	}
}

// A search resumes when NATS is back. If the dispatcher ends, the next owner of the partition
// searches again.
func TestSearchResumesAfterAnInterruption(t *testing.T) {
	for name, fault := range map[string]func(h *harness){
		"NATS away": func(h *harness) { h.Server.Stop(); <-time.After(time.Minute); h.Server.Start() },
		"killed":    func(h *harness) { h.Kill(); h.Start() },
		"stopped":   func(h *harness) { h.Halt(); h.Start() },
	} {
		t.Run(name, func(t *testing.T) {
			unreadRoom(t, func(t *testing.T, h *harness) {
				h.Halt()
				h.Start()
				h.Publish(`{"event_id":"$quiet","room_id":"!r","sender":"@alice:x","type":"m.room.message","content":{"msgtype":"m.notice","body":"x"}}`)
				<-time.After(soon)
				h.Halt()
				h.Start()
				h.Link.Refuse("$JS.API.STREAM.MSG.GET.ROOMS", int(time.Second/(250*time.Millisecond)))
				h.Receipt("!r", "@bob:x", "m.read", "$quiet", "")
				h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-2"}}`)
				<-time.After(100 * time.Millisecond)
				fault(h)
				<-time.After(10 * time.Second)
				if log := h.LogOf("@bob:x"); len(log) > 0 {
					t.Errorf("bob has unread %v", log)
				}
			})
		})
	}
}
