package reads_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"poked/events/publish"
)

// State that lost against newer state changes nothing, at once and after a restart, if its
// publisher marks it: a leave three days old takes nobody out of the room.
func TestSupersededState(t *testing.T) {
	for name, then := range map[string]func(h *harness){
		"at once":         func(*harness) {},
		"after a restart": func(h *harness) { h.Halt(); h.Start() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Register("@bob:x", "gw.test", "bob")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				h.Say("!r", "@alice:x", 0, 1)
				h.Arrived(1)
				late := func(kind, key, content string) {
					raw := fmt.Sprintf(`{"event_id":"$late%s","room_id":"!r","type":%q,"sender":"@alice:x","state_key":%q,"origin_server_ts":%d,"content":%s}`,
						kind, kind, key, time.Now().Add(-72*time.Hour).UnixMilli(), content)
					if err := publish.NewPublisher(h.Conn).Event(t.Context(), []byte(raw), publish.Superseded()); err != nil {
						t.Fatal(err)
					}
				}
				late("m.room.member", "@bob:x", `{"membership":"leave"}`)
				late("m.room.name", "", `{"name":"Old"}`)
				<-time.After(soon)
				if log := h.LogOf("@bob:x"); len(log) != 1 {
					t.Errorf("bob has unread %v, want what he had", log)
				}
				then(h)
				h.Say("!r", "@alice:x", 1, 1)
				if got := gjson.GetBytes(h.Arrived(2)[1].Body, "notification.room_name").Str; got != "Room" {
					t.Errorf("the room is called %q", got)
				}
				if n := len(h.Dead()); n != 0 {
					t.Errorf("%d dead letters", n)
				}
			})
		})
	}
}
