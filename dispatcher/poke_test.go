package dispatcher_test

import (
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/publish"
)

func TestPokeArrives(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob-phone", "bob-desk")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 3)
		pokes := h.Arrived(6)
		for _, key := range []string{"bob-phone", "bob-desk"} {
			if got := dispatchertest.Delivered(pokes, key); got != "r-0 r-1 r-2" {
				t.Errorf("%s got %q", key, got)
			}
		}
		const want = `{"notification":{"devices":[{"app_id":"app","pushkey":"bob-phone","pushkey_ts":1,"data":{"brand":"x"},` +
			`"tweaks":{"sound":"default"}}],"counts":{"unread":1},"prio":"high","event_id":"$r-0","room_id":"!r",` +
			`"type":"m.room.message","sender":"@alice:x","sender_display_name":"alice","room_name":"Room",` +
			`"content":{"msgtype":"m.text","body":"hello 0"}}}`
		for _, p := range pokes {
			if p.Pushkey == "bob-phone" && p.EventID == "$r-0" && string(p.Body) != want {
				t.Errorf("body is\n%s, want\n%s", p.Body, want)
			}
		}
	})
}

func TestInviteReachesTheInvited(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x")
		h.Publish(`{"event_id":"$invite","room_id":"!r","type":"m.room.member","sender":"@alice:x","state_key":"@bob:x","content":{"membership":"invite"}}`)
		poke := h.Arrived(1)[0]
		for _, part := range []string{`"user_is_target":true`, `"membership":"invite"`, `"event_id":"$invite"`} {
			if !strings.Contains(string(poke.Body), part) {
				t.Errorf("the poke lacks %s: %s", part, poke.Body)
			}
		}
	})
}

// A historical event notifies nobody, but changes the room's state.
func TestHistoricalEventsNotifyNobody(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		past := func(raw string) {
			if err := publish.NewPublisher(h.Conn).Event(t.Context(), []byte(raw), publish.Historical()); err != nil {
				t.Fatal(err)
			}
		}
		past(`{"event_id":"$old","room_id":"!r","type":"m.room.message","sender":"@alice:x","content":{"body":"old"}}`)
		past(`{"event_id":"$name","room_id":"!r","type":"m.room.name","sender":"@alice:x","state_key":"","content":{"name":"Renamed"}}`)
		h.Say("!r", "@alice:x", 0, 1)
		h.Arrived(1)
		<-time.After(time.Second)
		pokes := h.Gateway.Pokes()
		if got := dispatchertest.Delivered(pokes, "bob"); got != "r-0" {
			t.Errorf("bob got %q", got)
		}
		if !strings.Contains(string(pokes[0].Body), `"room_name":"Renamed"`) {
			t.Errorf("the room's new name is not used: %s", pokes[0].Body)
		}
	})
}

func TestReceiptsNotifyNobody(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		err := publish.NewPublisher(h.Conn).Receipt(t.Context(),
			[]byte(`{"type":"m.receipt","room_id":"!r","content":{"$!rm.room.name":{"m.read":{"@bob:x":{"ts":1}}}}}`))
		if err != nil {
			t.Fatal(err)
		}
		h.Say("!r", "@alice:x", 0, 1)
		h.Arrived(1)
		if n := h.Dispatcher.Stats(); n.Notifications != 1 || n.Skipped != 0 {
			t.Errorf("stats are %+v", n)
		}
	})
}

// A message that can never be read becomes a dead letter with the reason. It does not hold
// up the messages after it.
func TestBadMessagesBecomeDeadLetters(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		elsewhere := "room." + events.Token("!other")
		here := "room." + events.Token("!r")
		h.Server.Publish(here+".event", `{"event_id":`)
		h.Server.Publish(here+".event", `{"event_id":"$a","room_id":"!r","type":"m.room.message","sender":"@alice:x"}`)
		h.Server.Publish(elsewhere+".event", `{"event_id":"$b","room_id":"!r","type":"m.room.message","sender":"@alice:x","content":{}}`)
		h.Server.Publish("log.0", `{"kind":"notify","room_seq":1}`)
		h.Server.Publish("log.0", `{}`)
		h.Say("!r", "@alice:x", 0, 1)
		h.Arrived(1)
		eventstest.WaitFor(t, "five dead letters", func() bool { return h.Dispatcher.Stats().Skipped == 5 })
		<-time.After(time.Second)
		reasons := map[events.DeadReason]int{}
		for _, letter := range h.Dead() {
			reasons[letter.Reason]++
			if letter.Detail == "" || letter.Subject == "" || len(letter.Message) == 0 {
				t.Errorf("a dead letter lacks its detail, subject or message: %+v", letter)
			}
		}
		if reasons["bad_event"] != 3 || reasons["bad_notification"] != 2 {
			t.Errorf("dead letters: %v", reasons)
		}
	})
}

// A homeserver publishes again if it does not know the outcome.
func TestRepeatedEventIsSentOnce(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		for range 3 {
			h.Say("!r", "@alice:x", 0, 1)
			<-time.After(time.Minute)
		}
		if got := h.Delivered("bob"); got != "r-0" {
			t.Errorf("bob got %q", got)
		}
	})
}
