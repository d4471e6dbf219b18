package gateways_test

import (
	"net/http"
	"testing"
	"time"

	"poked/dispatcher/deliver"
	"poked/dispatcher/dispatchertest"
	"poked/events/eventstest"
)

// A connection to NATS that accepts nothing stops only lanes that have something to write.
// Pokes to other gateways are sent, also in the same partition.
func TestG4HalfOpenConnectionToNATSStopsNoSlot(t *testing.T) {
	eventstest.Long(t)
	h := dispatchertest.New(t) // not in a bubble, see Stall
	h.Alone = true             // without a lease, which would end
	h.Hosts = []string{"other.test"}
	slow, fast := dispatchertest.SamePartition(h.Conn.Topology().Partitions)
	h.Register(slow, "gw.test", "slow")
	h.Register(fast, "other.test", "fast")
	h.Start()
	h.Room("!r", "@alice:x", slow, fast)
	const n = 20 // as many as a lane holds
	h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
		if p.Pushkey == "slow" {
			return eventstest.Reply{Status: http.StatusBadGateway, After: deliver.Patience * 9 / 10}
		}
		return eventstest.Reply{After: 80 * time.Millisecond}
	})
	h.Say("!r", "@alice:x", 0, n)
	eventstest.WaitFor(t, "the notifications", func() bool { return len(h.LogOf(fast)) == n && len(h.Gateway.Pokes()) > 0 })
	resume := h.Link.Stall()
	defer resume()
	began := time.Now()
	h.Arrived(n)                                         // failures have to be stored meanwhile
	if took := time.Since(began); took > 4*time.Second { // before the connection is closed
		t.Errorf("the pokes to the other gateway took %v", took)
	}
	h.Check(fast, 0, "fast")

	h.GatewayUp()
	resume()
	h.Say("!r", "@alice:x", n, 1)
	h.Arrived(2*n + 2)
	<-time.After(time.Second) // nothing else arrives
	h.Check(slow, 0, "slow")
	h.Check(fast, 0, "fast")
}
