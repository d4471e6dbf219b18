package dispatcher

import (
	"net/http"
	"testing"
	"time"

	"poked/dispatcher/deliver"
	"poked/events/eventstest"
)

// A connection to NATS that accepts nothing stops only lanes that have something to write.
// Pokes to other gateways are sent, also in the same partition.
func TestG4HalfOpenConnectionToNATSStopsNoSlot(t *testing.T) {
	eventstest.Long(t)
	h := newHarness(t) // not in a bubble, see Stall
	h.alone = true     // without a lease, which would end
	h.hosts = []string{"other.test"}
	slow, fast := samePartition(h.conn.Partitions())
	h.register(slow, "gw.test", "slow")
	h.register(fast, "other.test", "fast")
	h.start()
	h.room("!r", "@alice:x", slow, fast)
	const n = 20 // as many as a lane holds
	h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
		if p.Pushkey == "slow" {
			return eventstest.Reply{Status: http.StatusBadGateway, After: deliver.Patience * 9 / 10}
		}
		return eventstest.Reply{After: 80 * time.Millisecond}
	})
	h.say("!r", "@alice:x", 0, n)
	eventstest.WaitFor(t, "the notifications", func() bool { return len(h.logOf(fast)) == n && len(h.gateway.Pokes()) > 0 })
	resume := h.link.Stall()
	defer resume()
	began := time.Now()
	h.arrived(n)                                         // failures have to be stored meanwhile
	if took := time.Since(began); took > 4*time.Second { // before the connection is closed
		t.Errorf("the pokes to the other gateway took %v", took)
	}
	h.check(fast, 0, "fast")

	h.gateway.Answer(up())
	resume()
	h.say("!r", "@alice:x", n, 1)
	h.arrived(2*n + 2)
	<-time.After(time.Second) // nothing else arrives
	h.check(slow, 0, "slow")
	h.check(fast, 0, "fast")
}
