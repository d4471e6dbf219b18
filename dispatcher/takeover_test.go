package dispatcher

import (
	"testing"
	"time"

	"poked/events/eventstest"
)

// A dispatcher that NATS took for dead, and that comes back: its successor has
// taken over, it gives way, and what it had still to tell is not told by both.
func TestPartitionedDispatcherGivesWay(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.register("@bob:x", "gw.test", "bob")
		h.register("@eve:x", "slow.test", "eve")
		h.start()
		h.room("!r", "@alice:x", "@bob:x", "@eve:x")
		h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: 3 * time.Second}
			}
			return eventstest.Reply{}
		})
		h.say("!r", "@alice:x", 0, 30) // a minute and a half of work at the slow gateway
		<-time.After(10 * time.Second)
		old, oldLink, oldStop, oldStopped := h.d, h.link, h.stop, h.stopped
		oldLink.Part()
		h.begin()
		<-h.d.Ready()
		<-time.After(10 * time.Second)
		oldLink.Mend()
		<-time.After(20 * time.Second) // until it has found out, and is on standby
		told := old.Stats().Delivered
		h.say("!r", "@alice:x", 30, 5)
		h.calm()
		<-time.After(time.Minute)
		if now := old.Stats().Delivered; now > told {
			t.Errorf("the old dispatcher told %d more after it had given way", now-told)
		}
		h.promise("@bob:x", 0, "bob")
		h.promise("@eve:x", 12, "eve") // what both told before the old one knew

		h.halt() // the standby takes over
		h.say("!r", "@alice:x", 35, 1)
		<-time.After(10 * time.Second)
		h.promise("@bob:x", 0, "bob")
		oldStop()
		if err := <-oldStopped; err != nil {
			t.Error(err)
		}
	})
}
