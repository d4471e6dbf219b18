package partition_test

import (
	"slices"
	"testing"
	"time"

	"poked/events/eventstest"
	"poked/events/natstest"
)

// TestSharingFaultTable breaks each write with which workers agree, at each worker and
// in each way, while one worker joins and one leaves. In the end the remaining workers
// share all partitions evenly, and at no time do two workers hold their lease and work
// on the same partition (see crew.work).
func TestSharingFaultTable(t *testing.T) {
	eventstest.Long(t)
	for _, subject := range []string{"$KV.POSITIONS.part.", "$KV.WORKERS.worker."} {
		for _, worker := range []string{"a", "b", "joiner"} {
			for name, fault := range natstest.Faults() {
				t.Run(subject+"/"+worker+"/"+name, func(t *testing.T) {
					crewOf(t, 16, func(t *testing.T, c *crew) { faultOfSharing(t, c, subject, worker, fault) })
				})
			}
		}
	}
}

func faultOfSharing(t *testing.T, c *crew, subject, worker string, fault natstest.Fault) {
	t.Helper()
	a, b := c.join("a"), c.join("b")
	c.settles(joinLimit, a, b)
	joiner := c.signUp("joiner")
	at := map[string]*member{"a": a, "b": b, "joiner": joiner}[worker]
	met := at.link.Break(subject, fault)
	c.begin(joiner)
	<-time.After(3 * time.Second)
	a.cancel()
	c.settles(15*time.Second, slices.DeleteFunc([]*member{b, joiner}, func(m *member) bool { return m.link.Dead() })...)
	if !met() {
		t.Error("no message met the fault")
	}
	<-time.After(10 * time.Second) // until the connection is back
	c.rests(slices.DeleteFunc([]*member{b, joiner}, func(m *member) bool { return m.link.Dead() })...)
}

// Many faults in succession, at all workers.
func TestSharingThroughManyFaults(t *testing.T) {
	eventstest.Long(t)
	crewOf(t, 16, func(t *testing.T, c *crew) {
		members := []*member{c.join("a"), c.join("b"), c.join("c")}
		c.settles(joinLimit, members...)
		for round := range 30 {
			m := members[round%len(members)]
			for _, subject := range []string{"$KV.POSITIONS.part.", "$KV.WORKERS.worker."} {
				m.link.Break(subject, []natstest.Fault{natstest.Refuse, natstest.Lose, natstest.LoseAnswer}[(round/3)%3])
			}
			if round%5 == 4 {
				m.link.Part()
				<-time.After(time.Duration(round) * 500 * time.Millisecond)
				m.link.Mend()
			}
			<-time.After(3 * time.Second)
		}
		for _, m := range members {
			m.link.Spare()
		}
		<-time.After(10 * time.Second) // until all connections are back
		c.settles(crashLimit, members...)
		c.rests(members...)
	})
}

// A worker leaves at once though NATS does not answer who wants to read, and the others do not
// wait for it either.
func TestLeavingDoesNotWaitForReaders(t *testing.T) {
	crewOf(t, 4, func(t *testing.T, c *crew) {
		a, b := c.join("a"), c.join("b")
		c.settles(joinLimit, a, b)
		a.link.Part()
		<-time.After(time.Second)
		for range 100 {
			a.link.Break("$JS.API.CONSUMER.CREATE.KV_", natstest.LoseSilently)
		}
		a.link.Mend()
		<-time.After(5 * time.Second)
		began := time.Now()
		a.stop()
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("it took %s", took)
		}
		c.settles(2*time.Second, b)
	})
}
