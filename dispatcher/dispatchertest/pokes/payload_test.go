package pokes_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// sizeOf returns how many bytes a request had.
func sizeOf(p eventstest.Poke) int {
	if p.Push != nil {
		return p.Push.Size
	}
	return len(p.Body)
}

// takes returns the answers of a gateway that takes bodies of so many bytes.
func takes(limit *int) func(eventstest.Poke) eventstest.Reply {
	return func(p eventstest.Poke) eventstest.Reply {
		if sizeOf(p) > *limit {
			return eventstest.Reply{Status: 413}
		}
		return eventstest.Reply{Status: 201}
	}
}

// sayLong publishes a message with a body of so many bytes, and waits until it has arrived. It returns how
// many requests that took, and the last one.
func (h *harness) sayLong(event string, bytes int) (requests int, last eventstest.Poke) {
	h.T.Helper()
	before, arrived := len(h.Gateway.Tried()), len(h.Gateway.Pokes())
	h.content(event, "m.room.message", map[string]any{"msgtype": "m.text", "body": strings.Repeat("x", bytes)})
	eventstest.WaitFor(h.T, event, func() bool { return len(h.Gateway.Pokes()) > arrived })
	all := h.Gateway.Tried()
	return len(all) - before, all[len(all)-1]
}

// What a gateway takes at most is learned from the first poke that it refuses as too large: later ones are
// short enough at once. After an hour a gateway that has grown gets them whole.
func TestPayloadLimitIsRemembered(t *testing.T) {
	for _, kind := range []string{"http", "webpush"} {
		for limit, first := range map[int]int{4096: 2, 3000: 3} {
			t.Run(fmt.Sprint(kind, " ", limit), func(t *testing.T) {
				bubble(t, func(t *testing.T, h *harness) {
					h.SpanHours()
					pusher := events.Pusher{Pushkey: "bob"}
					if kind == "webpush" {
						h.WithVAPID()
						pusher = h.Gateway.Browser("gw.test", nil)
						first-- // it gets no more than 4096 bytes anyway
					}
					h.RegisterAll("@bob:x", pusher)
					now := limit
					h.Gateway.Answer(takes(&now))
					h.Start()
					h.Room("!r", "@alice:x", "@bob:x")
					if n, p := h.sayLong("$first", 9000); n != first || sizeOf(p) < limit/2 {
						t.Errorf("the first poke took %d requests, the last with %d bytes", n, sizeOf(p))
					}
					for i := range 3 {
						if n, p := h.sayLong(fmt.Sprintf("$again%d", i), 9000); n != 1 || sizeOf(p) < limit/2 {
							t.Errorf("another took %d requests, the last with %d bytes", n, sizeOf(p))
						}
						<-time.After(20*time.Minute - time.Second) // longer than an unused gateway is remembered
					}
					now = 1 << 20
					<-time.After(5 * time.Minute)
					for i := range 2 {
						n, p := h.sayLong(fmt.Sprintf("$whole%d", i), 9000)
						if n != 1 || kind == "http" && sizeOf(p) < 9000 || sizeOf(p) < 4000 {
							t.Errorf("after an hour a poke took %d requests, the last with %d bytes", n, sizeOf(p))
						}
					}
				})
			})
		}
	}
}

// A pusher that is refused by itself costs the others at its gateway nothing of their pokes: a
// gateway of UnifiedPush forwards to many push servers.
func TestPayloadLimitOfOnePusherIsNotTheGateways(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@carol:x", "gw.test", "carol")
		h.Start()
		h.Room("!r", "@alice:x", "@carol:x")
		h.sayLong("$before", 6000)
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Pushkey == "bob" && len(p.Body) > 1000 {
				return eventstest.Reply{Status: 413}
			}
			return eventstest.Reply{}
		})
		h.Room("!r", "@alice:x", "@bob:x", "@carol:x")
		for i := range 3 {
			h.sayLong(fmt.Sprintf("$%d", i), 5000)
			<-time.After(time.Second)
		}
		if h.Delivered("bob") != "0 1 2" || h.Delivered("carol") != "before 0 1 2" {
			t.Errorf("bob got %q, carol %q", h.Delivered("bob"), h.Delivered("carol"))
		}
		for _, p := range h.Gateway.Pokes() {
			if p.Pushkey == "carol" && len(p.Body) < 5000 {
				t.Errorf("carol got %s with %d bytes", p.EventID, len(p.Body))
			}
		}
	})
}

// A limit that the operator knows is never exceeded, and operators see it.
func TestPayloadLimitOfTheOperator(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Config.PayloadLimit = []string{"http://gw.test=2048"}
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@carol:x", "slow.test", "carol")
		limit := 2048
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "gw.test" {
				return takes(&limit)(p)
			}
			return eventstest.Reply{}
		})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@carol:x")
		h.sayLong("$long", 9000)
		h.Arrived(2)
		for _, p := range h.Gateway.Tried() {
			if whole := len(p.Body) > 9000; p.Status != 200 && p.Status != 201 || whole != (p.Host == "slow.test") {
				t.Errorf("%s answered %d to %d bytes", p.Host, p.Status, len(p.Body))
			}
		}
		for _, g := range h.Gateways() {
			if want := map[string]int{"http://gw.test:80": 2048}[g.Origin]; g.MaxBody != want {
				t.Errorf("%s has the limit %d, want %d", g.Origin, g.MaxBody, want)
			}
		}
	})
}
