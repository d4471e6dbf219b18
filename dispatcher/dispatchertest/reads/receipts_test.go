package reads_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/publish"
)

// soon is longer than a changed count waits for its poke.
const soon = 2 * time.Second

// unreadRoom runs a test in a room with bob, who has a pusher, and five messages by alice,
// $r-0 to $r-4, which were delivered to him.
func unreadRoom(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Helper()
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 5)
		h.Arrived(5)
		<-time.After(time.Second)
		test(t, h)
	})
}

// unreadIs checks what is left in bob's log, and his badges from the sixth poke on.
func unreadIs(t *testing.T, h *harness, log, sent string) {
	t.Helper()
	<-time.After(soon)
	var left []string
	for _, id := range h.LogOf("@bob:x") {
		left = append(left, strings.TrimPrefix(string(id), "$r-"))
	}
	if got := strings.Join(left, " "); got != log {
		t.Errorf("bob has unread %q, want %q", got, log)
	}
	if got := dispatchertest.Badges(h.Gateway.Pokes()[5:], "bob"); got != sent {
		t.Errorf("bob got badges %q, want %q", got, sent)
	}
}

func TestReceiptClearsUpToItsEvent(t *testing.T) {
	for name, kind := range map[string]string{"public": "m.read", "private": "m.read.private"} {
		t.Run(name, func(t *testing.T) {
			unreadRoom(t, func(t *testing.T, h *harness) {
				h.Receipt("!r", "@bob:x", kind, "$r-0", "")
				unreadIs(t, h, "1 2 3 4", "[4]")
				h.Receipt("!r", "@bob:x", kind, "$r-4", "")
				unreadIs(t, h, "", "[4] [0]")
			})
		})
	}
}

func TestOtherReceiptsClearNothing(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Receipt("!r", "@bob:x", "m.fully_read", "$r-4", "")
		h.Receipt("!r", "@eve:x", "m.read", "$r-4", "")
		h.Receipt("!other", "@bob:x", "m.read", "$r-4", "")
		h.Server.Publish("room."+events.Token("!r")+".receipt", `{"type":"m.receipt","room_id":"!r","content":{"$r-4":{"m.read":{"@bob:x":{"thread_id":7}}}}}`)
		unreadIs(t, h, "0 1 2 3 4", "")
	})
}

// Each event, kind and user of an EDU is read by itself: an unreadable one becomes a dead
// letter and does not affect the others.
func TestReceiptsBesideUnreadableOnes(t *testing.T) {
	for name, row := range map[string]struct {
		content string
		dead    int
	}{
		"kind of another shape":   {`"$r-3":{"m.read":{"@bob:x":{"ts":1}},"org.example":7}`, 0},
		"another shape of m.read": {`"$r-3":{"m.read.private":true,"m.read":{"@bob:x":{"ts":1}}}`, 1},
		"another event":           {`"$r-3":{"m.read":{"@bob:x":{"ts":1}}},"$r-9":{"m.read":["@eve:x"]}`, 1},
		"an event that is none":   {`"$r-9":null,"$r-3":{"m.read":{"@bob:x":{"ts":1}}}`, 1},
		"another user":            {`"$r-3":{"m.read":{"@eve:x":7,"@bob:x":{"ts":1},"":{}}}`, 1},
		"the event once more":     {`"$r-3":{"m.read":{"@bob:x":{"ts":1}}},"$r-3":{}`, 0},
		"thread of another user":  {`"$r-3":{"m.read":{"@eve:x":{"thread_id":{}},"@bob:x":{}}}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			unreadRoom(t, func(t *testing.T, h *harness) {
				raw := `{"type":"m.receipt","room_id":"!r","content":{` + row.content + `}}`
				if err := publish.NewPublisher(h.Conn).Receipt(t.Context(), []byte(raw)); err != nil {
					t.Fatal(err)
				}
				unreadIs(t, h, "4", "[1]")
				if n := len(h.Dead()); n != row.dead || h.Dispatcher.Stats().Skipped != uint64(row.dead) {
					t.Errorf("%d dead letters, %d counted, want %d", n, h.Dispatcher.Stats().Skipped, row.dead)
				}
				h.Say("!r", "@alice:x", 5, 1) // the room goes on
				unreadIs(t, h, "4 5", "[1] 2")
			})
		})
	}
}

func TestReceiptThatMovesBackwardsChangesNothing(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Receipt("!r", "@bob:x", "m.read", "$r-3", "")
		h.Receipt("!r", "@bob:x", "m.read.private", "$r-1", "")
		unreadIs(t, h, "4", "[1]")
		h.Halt()
		h.Start()
		h.Receipt("!r", "@bob:x", "m.read", "$r-1", "")
		unreadIs(t, h, "4", "[1]")
	})
}

// A receipt for a notice or a state event clears the notifications before that event.
func TestReceiptForAnEventThatNotifiedNobody(t *testing.T) {
	eventstest.Long(t)
	for name, content := range map[string]string{
		"notice": `"type":"m.room.message","content":{"msgtype":"m.notice","body":"x"}`,
		"state":  `"type":"m.room.topic","state_key":"","content":{"topic":"x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			unreadRoom(t, func(t *testing.T, h *harness) {
				h.Publish(`{"event_id":"$quiet","room_id":"!r","sender":"@alice:x",` + content + `}`)
				h.Say("!r", "@alice:x", 5, 1)
				h.Halt() // its place in the room is not in memory any more
				h.Start()
				h.Arrived(6)
				h.Receipt("!r", "@bob:x", "m.read", "$quiet", "")
				unreadIs(t, h, "5", "6 [1]")
			})
		})
		t.Run(name+" long ago", func(t *testing.T) {
			unreadRoom(t, func(t *testing.T, h *harness) {
				h.Publish(`{"event_id":"$quiet","room_id":"!r","sender":"@alice:x",` + content + `}`)
				<-time.After(soon)
				h.Halt()
				<-time.After(2 * time.Hour) // the archive reads the newest hour first
				h.Start()
				h.Say("!r", "@alice:x", 5, 1)
				h.Halt()
				h.Start()
				h.Arrived(6)
				h.Receipt("!r", "@bob:x", "m.read", "$quiet", "")
				unreadIs(t, h, "5", "6 [1]")
			})
		})
	}
}

func TestThreadedReceipts(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		for i := 5; i < 8; i++ {
			h.Publish(fmt.Sprintf(`{"event_id":"$r-%d","room_id":"!r","type":"m.room.message","sender":"@alice:x","content":
				{"msgtype":"m.text","body":"x","m.relates_to":{"rel_type":"m.thread","event_id":"$r-0"}}}`, i))
		}
		h.Arrived(8)
		h.Receipt("!r", "@bob:x", "m.read", "$r-7", `,"thread_id":"main"`)
		unreadIs(t, h, "5 6 7", "6 7 8 [3]")
		h.Receipt("!r", "@bob:x", "m.read", "$r-6", `,"thread_id":"$r-0"`)
		unreadIs(t, h, "7", "6 7 8 [3] [1]")
		h.Say("!r", "@alice:x", 8, 1)
		h.Arrived(11) // with two badges
		h.Receipt("!r", "@bob:x", "m.read", "$r-7", "")
		unreadIs(t, h, "8", "6 7 8 [3] [1] 2 [1]")
	})
}

// A user who writes to a room, or leaves it, has read it.
func TestWhatReadsARoomBesideReceipts(t *testing.T) {
	member := func(membership string) string {
		return `"type":"m.room.member","sender":"@alice:x","state_key":"@bob:x","content":{"membership":"` + membership + `"}`
	}
	for name, event := range map[string]string{
		"own message": `"type":"m.room.message","sender":"@bob:x","content":{"msgtype":"m.text","body":"x"}`,
		"encrypted":   `"type":"m.room.encrypted","sender":"@bob:x","content":{}`,
		"kick":        member("leave"), "ban": member("ban"),
	} {
		t.Run(name, func(t *testing.T) {
			unreadRoom(t, func(t *testing.T, h *harness) {
				h.Publish(`{"event_id":"$x","room_id":"!r",` + event + `}`)
				unreadIs(t, h, "", "[0]")
			})
		})
	}
	t.Run("not a reaction", func(t *testing.T) {
		unreadRoom(t, func(t *testing.T, h *harness) {
			h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.reaction","sender":"@bob:x","content":{}}`)
			unreadIs(t, h, "0 1 2 3 4", "")
		})
	})
}

// A user who accepts or declines an invite has read it.
func TestAnsweringAnInviteReadsIt(t *testing.T) {
	for _, answer := range []string{"join", "leave"} {
		t.Run(answer, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Register("@bob:x", "gw.test", "bob")
				h.Start()
				h.Room("!r", "@alice:x")
				for i, membership := range []string{"invite", answer} {
					h.Publish(fmt.Sprintf(`{"event_id":"$r-%d","room_id":"!r","type":"m.room.member","sender":%q,"state_key":"@bob:x","content":{"membership":%q}}`,
						i, []string{"@alice:x", "@bob:x"}[i], membership))
					<-time.After(soon)
				}
				if got := h.Badges("bob"); got != "1 [0]" {
					t.Errorf("bob got %q", got)
				}
			})
		})
	}
}

// Receipts count also while a user has no pusher.
func TestReceiptsWhileAUserHasNoPusher(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test")
		h.Receipt("!r", "@bob:x", "m.read", "$r-3", "")
		<-time.After(soon)
		h.Register("@bob:x", "gw.test", "bob")
		h.Say("!r", "@alice:x", 5, 1)
		unreadIs(t, h, "4 5", "2")
	})
}

func TestUnreadableReceiptsAreKept(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Start()
		here := "room." + events.Token("!r") + ".receipt"
		h.Server.Publish(here, `{"type":"m.receipt"`)
		h.Server.Publish(here, `{"type":"m.receipt","room_id":"!other","content":{"$a":{}}}`)
		eventstest.WaitFor(t, "two dead letters", func() bool { return len(h.Dead()) == 2 })
		for _, letter := range h.Dead() {
			if letter.Reason != "bad_receipt" {
				t.Errorf("the reason is %s", letter.Reason)
			}
		}
	})
}

// An event that was first published as historical, with the state of its room, notifies when
// it is published live.
func TestHistoricalEventMayBePublishedLive(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x")
		raw := `{"event_id":"$r-0","room_id":"!r","type":"m.room.member","sender":"@alice:x","state_key":"@bob:x","content":{"membership":"invite"}}`
		publisher := publish.NewPublisher(h.Conn)
		if err := publisher.Event(t.Context(), []byte(raw), publish.Historical()); err != nil {
			t.Fatal(err)
		}
		<-time.After(11 * time.Minute) // NATS has forgotten the id
		h.Publish(raw)
		if got := dispatchertest.Badges(h.Arrived(1), "bob"); got != "1" {
			t.Errorf("bob got badges %q", got)
		}
	})
}
