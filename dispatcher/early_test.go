package dispatcher

import (
	"testing"
	"time"

	"poked/events/eventstest"
)

func TestReceiptBeforeItsEvent(t *testing.T) {
	for name, between := range map[string]func(*house){
		"":                func(*house) {},
		" and a stop":     func(h *house) { h.halt(); h.start() },
		" and a death":    func(h *house) { h.kill(); h.start() },
		" and an absence": func(h *house) { h.server.Stop(); h.server.Start(); <-time.After(10 * time.Second) },
	} {
		t.Run("then the event"+name, func(t *testing.T) {
			readers(t, func(t *testing.T, h *house) {
				h.receipt("!r", "@bob:x", "m.read", "$r-6", "")
				<-time.After(soon)
				between(h)
				h.say("!r", "@alice:x", 5, 2)
				<-time.After(soon)
				if log := h.logOf("@bob:x"); len(log) > 0 {
					t.Errorf("bob has unread %v", log)
				}
				for _, p := range h.gateway.Pokes() {
					if p.EventID == "$r-6" {
						t.Error("bob was told of what he had read")
					}
				}
			})
		})
	}
}

// What was said of an event before it came is not forgotten because its
// notifications were not stored at first.
func TestReceiptBeforeAnEventThatFails(t *testing.T) {
	for name, fault := range map[string]eventstest.Fault{"refused": eventstest.Refuse, "lost": eventstest.Lose} {
		t.Run(name, func(t *testing.T) {
			readers(t, func(t *testing.T, h *house) {
				h.register("@carol:x", "gw.test", "carol")
				h.publish(`{"event_id":"$carol","room_id":"!r","type":"m.room.member","sender":"@carol:x","state_key":"@carol:x","content":{"membership":"join"}}`)
				h.receipt("!r", "@bob:x", "m.read", "$r-5", "")
				<-time.After(soon)
				met := h.link.Break("notify.", fault)
				h.say("!r", "@alice:x", 5, 1)
				<-time.After(time.Minute)
				if !met() {
					t.Error("the fault was never met")
				}
				if got := told(h.gateway.Pokes(), "carol"); got != "r-5" {
					t.Errorf("carol was told %q", got)
				}
				unreadIs(t, h, "", "[0]")
			})
		})
	}
}
