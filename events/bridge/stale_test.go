package bridge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// A state event that comes late is checked: if the homeserver has other state, it changes
// none. Otherwise, and if the homeserver does not answer, it counts.
func TestLateStateThatLost(t *testing.T) {
	older := func(raw string, by time.Duration) string {
		return strings.TrimSuffix(raw, "}") + fmt.Sprintf(`,"unsigned":{"age":%d}}`, by.Milliseconds())
	}
	const lost, current = "event", "state"
	for name, row := range map[string]struct {
		coming string
		state  []string // of the room, beside that of roomOfBob
		away   bool
		want   string
	}{
		"lost":    {older(member("$leave", "@bob:example.org", "leave"), 72*time.Hour), nil, false, lost},
		"an hour": {older(member("$leave", "@bob:example.org", "leave"), time.Hour), nil, false, lost},
		"recent":  {older(member("$leave", "@bob:example.org", "leave"), time.Minute), nil, false, current},
		"away":    {older(member("$leave", "@bob:example.org", "leave"), 72*time.Hour), nil, true, current},
		"current": {older(state("$topic", "m.room.topic", "", `{}`), 72*time.Hour), []string{state("$topic", "m.room.topic", "", `{}`)}, false, current},
		"other":   {older(state("$topic", "m.room.topic", "", `{}`), 72*time.Hour), []string{state("$newer", "m.room.topic", "", `{}`)}, false, lost},
		"none":    {older(state("$topic", "m.room.topic", "", `{}`), 72*time.Hour), nil, false, current},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			set := events.UserPushers{UserID: bob, Version: 1, Pushers: []events.Pusher{{AppID: "a", Pushkey: "k", Kind: "http"}}}
			if err := h.conn.PutPushers(t.Context(), set); err != nil {
				t.Fatal(err)
			}
			h.hs.SetState("!r", raw(roomOfBob(row.state...)...)...)
			h.put(fromAfar(message("$1")))
			if row.away {
				h.hs.Instead(func(*http.Request) (eventstest.Reply, bool) {
					return eventstest.Reply{Status: http.StatusForbidden}, true
				})
			}
			h.put(row.coming)
			all := h.nats.Stored("ROOMS", "")
			last := all[len(all)-1]
			if got := strings.Split(last.Subject, ".")[3]; got != row.want {
				t.Errorf("%s was published on %s, want %s", last.Data, last.Subject, row.want)
			}
		})
	}
}
