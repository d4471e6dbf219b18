package pokes_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"poked/events"
)

// The shortest time to live holds: that of all pokes, of the event's type, or of the pusher. What
// expires is a dead letter that tells which, and push services keep a push for what is left.
func TestTimeToLiveOfEventTypeAndPusher(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.WithVAPID()
		h.Config.PokeTTL, h.Config.EventTTL = time.Hour, []string{"m.room.encrypted=1m"}
		hasty := func(ttl string) json.RawMessage {
			return json.RawMessage(`{"url":"http://gw.test/_matrix/push/v1/notify","poked.ttl":` + ttl + `}`)
		}
		browser := h.Gateway.Browser("gw.test", map[string]any{"poked.ttl": 300})
		h.RegisterAll("@bob:x", events.Pusher{Pushkey: "any"}, events.Pusher{Pushkey: "hasty", Data: hasty("300")}, events.Pusher{Pushkey: "as hasty", Data: hasty("300")}, browser,
			events.Pusher{Pushkey: "long", Data: hasty("86400")}, events.Pusher{Pushkey: "odd", Data: hasty(`"5"`)}, events.Pusher{Pushkey: "never", Data: hasty("-1")})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		say := func(n int) {
			h.content(fmt.Sprintf("$enc%d", n), "m.room.encrypted", map[string]any{"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"})
			h.content(fmt.Sprintf("$text%d", n), "m.room.message", map[string]any{"msgtype": "m.text", "body": "x"})
		}
		say(0)
		for _, p := range h.Arrived(14) {
			if p.Push == nil {
				continue
			}
			want := map[events.EventID]int{"$enc0": 60, "$text0": 300}[p.EventID]
			if ttl, _ := strconv.Atoi(p.Push.Header.Get("TTL")); ttl > want || ttl < want-5 {
				t.Errorf("the push service keeps %s for %d seconds, want %d", p.EventID, ttl, want)
			}
		}
		h.GatewayDown()
		say(1)
		<-time.After(6 * time.Minute)
		h.GatewayUp()
		h.CaughtUp()
		for pushkey, want := range map[string]string{
			"any": "enc0 text0 text1", "long": "enc0 text0 text1", "odd": "enc0 text0 text1", "never": "enc0 text0 text1",
			"hasty": "enc0 text0", "as hasty": "enc0 text0", browser.Pushkey: "enc0 text0",
		} {
			if got := h.Delivered(pushkey); got != want {
				t.Errorf("%s got %q, want %q", pushkey, got, want)
			}
		}
		var dead []string
		for _, l := range h.Dead() {
			dead = append(dead, fmt.Sprintf("%s %s %s", l.Reason, l.EventID, l.Detail))
		}
		slices.Sort(dead)
		want := slices.Concat(slices.Repeat([]string{"expired $enc1 older than 1m0s"}, 7), slices.Repeat([]string{"expired $text1 older than 5m0s"}, 3))
		if !slices.Equal(dead, want) {
			t.Errorf("the dead letters are\n%s", strings.Join(dead, "\n"))
		}
	})
}

// A pusher whose pokes live for a shorter time than they would be held back gets them nevertheless.
func TestTimeToLiveIsLongerThanADelay(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Config.DelayIfActive = 10 * time.Minute
		h.RegisterAll("@bob:x", events.Pusher{
			Pushkey: "bob", Data: json.RawMessage(`{"url":"http://gw.test/_matrix/push/v1/notify","poked.ttl":60}`),
		})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 1)
		h.Arrived(1)
		h.Receipt("!r", "@bob:x", "m.read", "$r-0", "")
		<-time.After(time.Second)
		h.Say("!r", "@alice:x", 1, 1)
		<-time.After(time.Second)
		if got := strings.Fields(h.Delivered("bob")); len(got) != 1 {
			t.Errorf("bob got %q while reading elsewhere", got)
		}
		<-time.After(time.Minute)
		if got := strings.Fields(h.Delivered("bob")); len(got) != 2 {
			t.Errorf("bob got %q", got)
		}
	})
}
