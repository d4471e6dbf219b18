package partition_test

import (
	"slices"
	"testing"
	"time"

	"poked/events/eventstest"
)

// TestSharingFaultTable breaks each write by which workers agree, at each worker
// and in each way, while one joins and one leaves. Whatever was broken, at the end
// those who live share all partitions evenly, and at no time did two count on
// owning the same (see crew.work).
func TestSharingFaultTable(t *testing.T) {
	for _, subject := range []string{"$KV.POSITIONS.part.", "$KV.WORKERS.worker."} {
		for _, who := range []string{"a", "b", "joiner"} {
			for name, fault := range eventstest.Faults() {
				t.Run(subject+"/"+who+"/"+name, func(t *testing.T) {
					crewOf(t, 16, func(t *testing.T, c *crew) { faultOfSharing(t, c, subject, who, fault) })
				})
			}
		}
	}
}

func faultOfSharing(t *testing.T, c *crew, subject, who string, fault eventstest.Fault) {
	t.Helper()
	a, b := c.join("a"), c.join("b")
	c.settles(joinLimit, a, b)
	joiner := c.signUp("joiner")
	at := map[string]*hand{"a": a, "b": b, "joiner": joiner}[who]
	met := at.link.Break(subject, fault)
	c.begin(joiner)
	<-time.After(3 * time.Second)
	a.cancel()
	c.settles(15*time.Second, slices.DeleteFunc([]*hand{b, joiner}, func(h *hand) bool { return h.link.Dead() })...)
	if !met() {
		t.Error("the fault was never met")
	}
	<-time.After(10 * time.Second) // until the connection is back
	c.rests(slices.DeleteFunc([]*hand{b, joiner}, func(h *hand) bool { return h.link.Dead() })...)
}

// Many faults one after the other, at everybody.
func TestSharingThroughManyFaults(t *testing.T) {
	eventstest.Long(t)
	crewOf(t, 16, func(t *testing.T, c *crew) {
		hands := []*hand{c.join("a"), c.join("b"), c.join("c")}
		c.settles(joinLimit, hands...)
		for round := range 30 {
			h := hands[round%len(hands)]
			for _, subject := range []string{"$KV.POSITIONS.part.", "$KV.WORKERS.worker."} {
				h.link.Break(subject, []eventstest.Fault{eventstest.Refuse, eventstest.Lose, eventstest.LoseAnswer}[(round/3)%3])
			}
			if round%5 == 4 {
				h.link.Part()
				<-time.After(time.Duration(round) * 500 * time.Millisecond)
				h.link.Mend()
			}
			<-time.After(3 * time.Second)
		}
		for _, h := range hands {
			h.link.Spare()
		}
		<-time.After(10 * time.Second) // until all connections are back
		c.settles(crashLimit, hands...)
		c.rests(hands...)
	})
}
