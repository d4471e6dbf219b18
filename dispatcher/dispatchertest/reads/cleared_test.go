package reads_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"poked/dispatcher/deliver"
	"poked/events"
	"poked/events/publish"
)

// dataWith is the data of a pusher with more members.
func dataWith(members string) json.RawMessage {
	return json.RawMessage(`{"url":"http://gw.test/_matrix/push/v1/notify",` + members + `}`)
}

// clears returns the pokes without an event that a pusher got: the rooms of each, and its count if
// it has one.
func (h *harness) clears(pushkey string) string {
	var all []string
	for _, p := range h.Gateway.Pokes() {
		if p.Pushkey != pushkey || p.EventID != "" {
			continue
		}
		text := ""
		if counts := gjson.GetBytes(p.Body, "notification.counts"); counts.Exists() {
			text = fmt.Sprint(p.Unread)
		}
		all = append(all, text+gjson.GetBytes(p.Body, `notification.poked\.cleared_rooms`).Raw)
	}
	return strings.Join(all, " ")
}

// wantClears checks the pokes without an event.
func (h *harness) wantClears(when string, want map[string]string) {
	h.T.Helper()
	for pushkey, clears := range want {
		if got := h.clears(pushkey); got != clears {
			h.T.Errorf("%s: %s got %q, want %q", when, pushkey, got, clears)
		}
	}
}

// registerClears sets a pusher of each sort: one that asks, with counts and without, and others.
func (h *harness) registerClears() {
	h.T.Helper()
	h.RegisterAll("@bob:x",
		events.Pusher{Pushkey: "usual"},
		events.Pusher{Pushkey: "own", Data: dataWith(`"disable_badge_count":true`)},
		events.Pusher{Pushkey: "asks", Data: dataWith(`"poked.cleared":true`)},
		events.Pusher{Pushkey: "own-asks", Data: dataWith(`"org.matrix.msc4076.disable_badge_count":true,"poked.cleared":true`)},
		events.Pusher{Pushkey: "ids", Data: dataWith(`"format":"event_id_only","disable_badge_count":true,"poked.cleared":true`)},
		events.Pusher{Pushkey: "none", Data: dataWith(`"disable_badge_count":true,"poked.cleared":false`)},
	)
}

// When a user has read something elsewhere, the pushers that ask for it hear where, once for all
// rooms that were read within moments; the others hear no more than before.
func TestReadElsewhereIsToldToPushersThatAsk(t *testing.T) {
	bubble(t, func(_ *testing.T, h *harness) {
		h.registerClears()
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Room("!s", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 2)
		<-time.After(time.Second)
		h.Say("!s", "@alice:x", 0, 1)
		<-time.After(time.Second)
		h.Receipt("!r", "@bob:x", "m.read", "$r-1", "")
		<-time.After(100 * time.Millisecond)
		h.Receipt("!s", "@bob:x", "m.read", "$s-0", "")
		<-time.After(2 * time.Second)
		rooms := `["!r","!s"]`
		h.wantClears("read", map[string]string{"usual": "0", "own": "", "asks": "0" + rooms, "own-asks": rooms, "ids": "", "none": ""})
		if n := strings.Count(h.Delivered("ids"), " "); n != 3 { // three events, and one without
			h.T.Errorf("ids got %q", h.Delivered("ids"))
		}
		h.Receipt("!s", "@bob:x", "m.read", "$s-0", "") // nothing is left to clear
		<-time.After(2 * time.Second)
		h.wantClears("read again", map[string]string{"usual": "0", "own": "", "asks": "0" + rooms, "own-asks": rooms})
	})
}

// A pusher hears of it also if no pusher gets counts, and of no more rooms than a poke has room
// for.
func TestReadElsewhereWithoutCounts(t *testing.T) {
	bubble(t, func(_ *testing.T, h *harness) {
		h.Config.Badge = deliver.BadgeNone
		h.registerClears()
		h.Start()
		const many = 40
		for i := range many {
			room := events.RoomID(fmt.Sprintf("!r%d", i))
			h.Room(room, "@alice:x", "@bob:x")
			h.Say(room, "@alice:x", 0, 1)
		}
		<-time.After(time.Second)
		h.Receipt("!r0", "@bob:x", "m.read", "$r0-0", "")
		<-time.After(2 * time.Second)
		h.wantClears("one", map[string]string{"usual": "", "own": "", "asks": `["!r0"]`, "own-asks": `["!r0"]`})
		for i := 1; i < many; i++ {
			h.Receipt(events.RoomID(fmt.Sprintf("!r%d", i)), "@bob:x", "m.read", events.EventID(fmt.Sprintf("$r%d-0", i)), "")
		}
		<-time.After(2 * time.Second)
		h.wantClears("many", map[string]string{"usual": "", "own": "", "asks": `["!r0"] `, "own-asks": `["!r0"] `})
	})
}

// With --cleared-notifs a receipt with cleared_notifs (MSC4234) is told to pushers that get no count,
// also if nothing was unread here; without it, or without the field, it is not.
func TestReceiptWithClearedNotifs(t *testing.T) {
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprint(on), func(t *testing.T) {
			bubble(t, func(_ *testing.T, h *harness) {
				h.Config.ClearedNotifs = on
				h.registerClears()
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				h.Say("!r", "@alice:x", 0, 1)
				<-time.After(time.Second)
				h.Receipt("!r", "@bob:x", "m.read", "$r-0", "")
				<-time.After(2 * time.Second)
				h.wantClears("unmarked", map[string]string{"own": "", "own-asks": `["!r"]`})
				want := `["!r"]`
				for _, field := range []string{"cleared_notifs", "org.matrix.msc4234.cleared_notifs"} {
					h.Receipt("!r", "@bob:x", "m.read", "$r-0", `,"`+field+`":true`)
					h.Receipt("!r", "@bob:x", "m.read", "$r-0", `,"`+field+`":"yes"`)
					<-time.After(2 * time.Second)
					told := map[string]string{"usual": "0", "own-asks": want + ` ["!r"]`}
					if want += ` ["!r"]`; on {
						told["own"] = strings.TrimPrefix(want, `["!r"] `)
					}
					h.wantClears(field, told)
				}
			})
		})
	}
}

// A pusher that lags hears of it at the end, once; after a crash without the rooms, which are not stored.
func TestReadElsewhereWhileAPusherLags(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint(crash), func(t *testing.T) {
			bubble(t, func(_ *testing.T, h *harness) {
				h.SpanHours()
				h.Server.Pulse = time.Second // a receipt is applied before the next
				h.registerClears()
				h.Start()
				for _, room := range []events.RoomID{"!r", "!s", "!q"} {
					h.Room(room, "@alice:x", "@bob:x")
					h.Say(room, "@alice:x", 0, 1)
					<-time.After(time.Second)
				}
				h.GatewayDown()
				h.Say("!q", "@alice:x", 1, 1)
				<-time.After(5 * time.Second)
				h.Receipt("!r", "@bob:x", "m.read", "$r-0", "")
				<-time.After(2 * time.Second)
				h.Receipt("!s", "@bob:x", "m.read", "$s-0", "")
				<-time.After(2 * time.Second)
				rooms := `["!r","!s"]`
				if crash {
					h.Kill()
					h.Start()
					rooms = ""
				}
				h.GatewayUp()
				<-time.After(5 * time.Minute)
				h.wantClears("caught up", map[string]string{"own": "", "own-asks": rooms})
				if got := h.Delivered("own-asks"); got != "r-0 s-0 q-0 q-1 " {
					h.T.Errorf("own-asks got %q", got)
				}
				h.CaughtUp()
			})
		})
	}
}

// What a receipt tells of its client's notifications is told under the receipt's user alone (G10).
func TestClearedNotifsOfSomebodyElse(t *testing.T) {
	bubble(t, func(_ *testing.T, h *harness) {
		h.Config.ClearedNotifs = true
		h.registerClears()
		h.Register("@eve:x", "gw.test", "eve")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@eve:x")
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(time.Second)
		raw := `{"type":"m.receipt","room_id":"!r","content":{"$r-0":{"m.read":{"@eve:x":{"cleared_notifs":true},"@bob:x":{"ts":1}}}}}`
		if err := publish.NewPublisher(h.Conn).Receipt(h.T.Context(), []byte(raw)); err != nil {
			h.T.Fatal(err)
		}
		<-time.After(2 * time.Second)
		h.wantClears("eve's", map[string]string{"own": "", "own-asks": `["!r"]`})
	})
}
