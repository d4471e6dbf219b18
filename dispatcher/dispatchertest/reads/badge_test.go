package reads_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/deliver"
	"poked/dispatcher/dispatchertest"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/eventstest"
)

// If many rooms are read at once, the new count is sent once.
func TestBadgeIsSentOnceForManyRooms(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		for i := range 10 {
			room := events.RoomID(fmt.Sprintf("!r%d", i))
			h.Room(room, "@alice:x", "@bob:x")
			h.Say(room, "@alice:x", 0, 1)
		}
		h.Arrived(10)
		for i := range 9 {
			h.Receipt(events.RoomID(fmt.Sprintf("!r%d", i)), "@bob:x", "m.read", events.EventID(fmt.Sprintf("$r%d-0", i)), "")
		}
		<-time.After(soon)
		if got := dispatchertest.Badges(h.Gateway.Pokes()[10:], "bob"); got != "[1]" {
			t.Errorf("bob got %q", got)
		}
	})
}

// A badge-only poke is sent only if no other poke carried the count.
func TestBadgeThatAPokeCarriesIsNotSentAgain(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Receipt("!r", "@bob:x", "m.read", "$r-4", "")
		h.Say("!r", "@alice:x", 5, 1)
		unreadIs(t, h, "5", "1")
	})
}

func TestBadgePokeHasNothingElse(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.RegisterAll("@bob:x",
			events.Pusher{Pushkey: "full"},
			events.Pusher{Pushkey: "brief", Data: json.RawMessage(`{"url":"http://gw.test/_matrix/push/v1/notify","format":"event_id_only"}`)},
			events.Pusher{Pushkey: "none", Data: json.RawMessage(`{"url":"http://gw.test/_matrix/push/v1/notify","org.matrix.msc4076.disable_badge_count":true}`)},
		)
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 1)
		h.Arrived(3)
		h.Receipt("!r", "@bob:x", "m.read", "$r-0", "")
		<-time.After(soon)
		pokes := h.Gateway.Pokes()
		for _, p := range pokes[:3] {
			if got := strings.Contains(string(p.Body), `"counts"`); got != (p.Pushkey != "none") {
				t.Errorf("%s has counts: %t", p.Pushkey, got)
			}
		}
		want := map[string]string{
			"full":  `{"notification":{"devices":[{"app_id":"app","pushkey":"full","pushkey_ts":1,"data":{"brand":"x"}}],"counts":{"unread":0},"prio":"low"}}`,
			"brief": `{"notification":{"devices":[{"app_id":"app","pushkey":"brief","pushkey_ts":1,"data":{"format":"event_id_only"}}],"counts":{"unread":0},"prio":"low"}}`,
		}
		for _, p := range pokes[3:] {
			if string(p.Body) != want[p.Pushkey] {
				t.Errorf("%s got %s", p.Pushkey, p.Body)
			}
			delete(want, p.Pushkey)
		}
		if len(want) > 0 {
			t.Errorf("not sent: %v", want)
		}
	})
}

func TestBadgeOfRooms(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Config.Badge = deliver.BadgeRooms
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		for i, room := range []events.RoomID{"!a", "!b"} {
			h.Room(room, "@alice:x", "@bob:x")
			h.Say(room, "@alice:x", 0, 3)
			h.Arrived(3 * (i + 1)) // rooms do not wait for each other
		}
		h.Receipt("!a", "@bob:x", "m.read", "$a-1", "")
		<-time.After(soon) // one message of the room is still unread
		h.Receipt("!a", "@bob:x", "m.read", "$a-2", "")
		<-time.After(soon)
		if got := h.Badges("bob"); got != "1 1 1 2 2 2 [1]" {
			t.Errorf("bob got %q", got)
		}
	})
}

// A room that the user marked as unread counts, until they take that back or read the room,
// once for all that is unread in it.
func TestBadgeOfRoomsMarkedAsUnread(t *testing.T) {
	for name, between := range map[string]func(*harness){
		"":               func(*harness) {},
		" and a restart": func(h *harness) { h.Halt(); h.Start() },
		" and a kill":    func(h *harness) { h.Kill(); h.Start() },
		" and snapshots": func(h *harness) { <-time.After(20 * time.Second); h.Kill(); h.Start() },
	} {
		t.Run("marked"+name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Config.Badge = deliver.BadgeRooms
				h.Register("@bob:x", "gw.test", "bob")
				h.Start()
				h.Room("!a", "@alice:x", "@bob:x")
				h.Room("!b", "@alice:x", "@bob:x")
				h.Say("!a", "@alice:x", 0, 1)
				h.Arrived(1)
				last := func(what string, want int) {
					t.Helper()
					<-time.After(soon)
					between(h)
					<-time.After(soon)
					pokes := h.Gateway.Pokes()
					if got := pokes[len(pokes)-1].Unread; got != want {
						t.Errorf("%s: the badge is %d, want %d", what, got, want)
					}
				}
				h.Receipt("!a", "@bob:x", "m.read", "$a-0", "")
				last("all read", 0)
				h.Mark("!a", "@bob:x", true)
				last("marked", 1)
				h.Mark("!b", "@bob:x", true)
				last("another, in which nothing happened", 2)
				h.Say("!a", "@alice:x", 1, 1)
				last("a message in it", 2)
				h.Mark("!a", "@bob:x", false)
				last("taken back, but for the message", 2)
				h.Receipt("!a", "@bob:x", "m.read", "$a-1", "")
				last("read", 1)
				h.Mark("!a", "@bob:x", true)
				last("marked again", 2)
				h.Receipt("!a", "@bob:x", "m.read", "$a-1", `,"thread_id":"$t"`)
				last("a thread read", 2)
				h.Receipt("!a", "@bob:x", "m.read.private", "$a-1", "")
				last("read to where it was read before", 1)
				h.Mark("!b", "@bob:x", false)
				last("taken back", 0)
				h.Mark("!a", "@bob:x", true)
				h.Say("!a", "@bob:x", 2, 1)
				last("marked, and answered", 0)
			})
		})
	}
}

// A mark counts for as long as a notification does.
func TestMarkedAsUnreadForAsLongAsTheLogIsKept(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Config.Badge = deliver.BadgeRooms
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!a", "@alice:x", "@bob:x")
		h.Room("!b", "@alice:x", "@bob:x")
		age := func() {
			t.Helper()
			if err := h.Conn.TrimLogs(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			<-time.After(2 * time.Minute) // until deliver knows
		}
		for i := range 2 {
			h.Say("!b", "@alice:x", i, 1)
			h.Arrived(i + 1)
		}
		h.Receipt("!b", "@bob:x", "m.read", "$b-1", "")
		<-time.After(soon)
		age()
		h.Mark("!a", "@bob:x", true)
		<-time.After(soon)
		h.Say("!b", "@alice:x", 2, 1)
		<-time.After(soon)
		age()
		h.Say("!b", "@alice:x", 3, 1)
		<-time.After(soon)
		if got := h.Badges("bob"); got != "1 1 [0] [1] 2 1" {
			t.Errorf("bob got %q", got)
		}
	})
}

// Marks change no count of messages, and a mark that cannot be read is a dead letter.
func TestBadgeOfMessagesKnowsNoMarks(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!a", "@alice:x", "@bob:x")
		h.Mark("!a", "@bob:x", true)
		h.Server.Publish(events.ReceiptSubject("!a"), `{"type":"m.marked_unread","room_id":"!a","content":{"@bob:x":7}}`)
		<-time.After(soon)
		h.Say("!a", "@alice:x", 0, 1)
		h.Arrived(1)
		<-time.After(soon)
		if got := h.Badges("bob"); got != "1" {
			t.Errorf("bob got %q", got)
		}
		if got := len(h.Server.Stored("DEAD", "")); got != 1 {
			t.Errorf("%d dead letters", got)
		}
	})
}

func TestBadgeNone(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Config.Badge = deliver.BadgeNone
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 2)
		h.Arrived(2)
		h.Receipt("!r", "@bob:x", "m.read", "$r-1", "")
		<-time.After(soon)
		pokes := h.Gateway.Pokes()
		if len(pokes) != 2 || strings.Contains(string(pokes[0].Body), "counts") {
			t.Errorf("%d pokes, the first is %s", len(pokes), pokes[0].Body)
		}
		if log := h.LogOf("@bob:x"); len(log) > 0 {
			t.Errorf("bob has unread %v", log)
		}
	})
}

// A pusher whose gateway was down while its user read everything elsewhere receives only the
// new count.
func TestReadBeforeCatchUpIsNotPoked(t *testing.T) {
	eventstest.Long(t)
	for name, between := range map[string]func(*harness){
		"":                 func(*harness) {},
		" and a restart":   func(h *harness) { h.Halt(); h.Start() },
		" and a kill":      func(h *harness) { h.Kill(); h.Start() },
		" and both":        func(h *harness) { h.Halt(); h.Start(); h.Kill(); h.Start() },
		" and a long wait": func(*harness) { <-time.After(2 * poke.QuickLimit) },
	} {
		t.Run("read"+name, func(t *testing.T) {
			unreadRoom(t, func(t *testing.T, h *harness) {
				h.GatewayDown()
				h.Say("!r", "@alice:x", 5, 3)
				<-time.After(time.Minute)
				h.Receipt("!r", "@bob:x", "m.read", "$r-7", "")
				<-time.After(soon)
				between(h)
				h.GatewayUp()
				h.CaughtUp()
				<-time.After(10 * time.Second)
				unreadIs(t, h, "", "[0]")
			})
		})
	}
}

// An event that was redacted while the gateway was down is not sent.
func TestRedactedBeforeCatchUpIsNotPoked(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.GatewayDown()
		h.Say("!r", "@alice:x", 5, 2)
		<-time.After(time.Minute)
		h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-5"}}`)
		<-time.After(soon)
		h.GatewayUp()
		<-time.After(time.Minute)
		unreadIs(t, h, "0 1 2 3 4 6", "6")
	})
}

// The newest count is sent when the gateway is back, also after a restart.
func TestBadgeSurvivesAnOutage(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.GatewayDown()
		for i := range 4 {
			h.Receipt("!r", "@bob:x", "m.read", events.EventID(fmt.Sprintf("$r-%d", i)), "")
			<-time.After(soon)
		}
		h.Kill()
		h.Start()
		h.GatewayUp()
		<-time.After(time.Minute)
		unreadIs(t, h, "4", "[1]")
	})
}

// A dead letter that is retried is one unread notification, not two.
func TestRetriedDeadLetterCountsOnce(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Config.PokeTTL = time.Minute
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.GatewayDown()
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(5 * time.Minute)
		h.GatewayUp()
		if err := h.Operator.RetryDead(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		h.Receipt("!r", "@bob:x", "m.read", "$r-0", "")
		<-time.After(soon)
		if got := h.Badges("bob"); got != "1 [0]" {
			t.Errorf("bob got %q", got)
		}
		if log := h.LogOf("@bob:x"); len(log) > 0 {
			t.Errorf("bob has unread %v", log)
		}
	})
}

func TestDelayIfActive(t *testing.T) {
	active := func(t *testing.T, test func(t *testing.T, h *harness)) {
		t.Helper()
		bubble(t, func(t *testing.T, h *harness) {
			h.Config.DelayIfActive = 10 * time.Second
			h.Register("@bob:x", "gw.test", "bob")
			h.Start()
			h.Room("!r", "@alice:x", "@bob:x")
			h.Say("!r", "@alice:x", 0, 1)
			h.Arrived(1)
			h.Receipt("!r", "@bob:x", "m.read", "$r-0", "")
			<-time.After(soon)
			test(t, h)
		})
	}
	t.Run("read within the delay, not sent", func(t *testing.T) {
		active(t, func(t *testing.T, h *harness) {
			h.Say("!r", "@alice:x", 1, 2)
			<-time.After(3 * time.Second)
			h.Receipt("!r", "@bob:x", "m.read", "$r-2", "")
			<-time.After(time.Minute)
			if got := h.Badges("bob"); got != "1 [0]" {
				t.Errorf("bob got %q", got)
			}
		})
	})
	t.Run("not read, sent after the delay", func(t *testing.T) {
		active(t, func(t *testing.T, h *harness) {
			said := time.Now()
			h.Say("!r", "@alice:x", 1, 1)
			pokes := h.Arrived(3)
			if waited := pokes[2].At.Sub(said); waited < 10*time.Second || waited > 12*time.Second {
				t.Errorf("the poke arrived after %v", waited)
			}
			<-time.After(time.Minute)
			h.Say("!r", "@alice:x", 2, 1)
			said = time.Now()
			pokes = h.Arrived(4)
			if waited := pokes[3].At.Sub(said); waited > time.Second {
				t.Errorf("the next one, a minute later, arrived after %v", waited)
			}
		})
	})
	t.Run("highlights do not wait", func(t *testing.T) {
		active(t, func(t *testing.T, h *harness) {
			h.Say("!r", "@alice:x", 1, 1)
			<-time.After(time.Second)
			h.Publish(`{"event_id":"$hey","room_id":"!r","type":"m.room.message","sender":"@alice:x","content":{"msgtype":"m.text","body":"bob","m.mentions":{"user_ids":["@bob:x"]}}}`)
			<-time.After(soon)
			if got := h.Delivered("bob"); got != "r-0  r-1 hey" {
				t.Errorf("bob got %q", got)
			}
		})
	})
}

// A badge whose cause came before a notification that hangs does not hide that one (G1).
func TestG1LateBadgeHidesNothing(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Receipt("!r", "@bob:x", "m.read", "$r-3", "")
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: 503, After: 20 * time.Second}))
		h.Say("!r", "@alice:x", 5, 1)
		<-time.After(soon)
		h.GatewayUp()
		<-time.After(time.Minute)
		if got := dispatchertest.Delivered(h.Gateway.Pokes()[5:], "bob"); !strings.Contains(got, "r-5") {
			t.Errorf("the last message was never delivered: %s", h.History())
		}
	})
}
