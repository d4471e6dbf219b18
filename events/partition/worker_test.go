package partition_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poked/events/eventstest"
	"poked/events/partition"
)

const (
	joinLimit  = 5 * time.Second
	crashLimit = 10 * time.Second
	stopLimit  = time.Second
)

func TestWorkersShareEvenly(t *testing.T) {
	crewOf(t, 16, func(t *testing.T, c *crew) {
		c.linger = 10 * time.Second
		var hands []*hand
		for i := range 5 {
			h := c.join(fmt.Sprint("w", i))
			hands = append(hands, h)
			c.settles(joinLimit, hands...)
			<-h.ready
		}
		c.rests(hands...)
		for len(hands) > 1 {
			hands[0].cancel()
			hands = hands[1:]
			c.settles(stopLimit, hands...)
		}
		c.rests(hands...)
	})
}

// More workers than there are partitions stand by.
func TestWorkersStandBy(t *testing.T) {
	crewOf(t, 2, func(t *testing.T, c *crew) {
		var hands []*hand
		for i := range 4 {
			h := c.join(fmt.Sprint("w", i))
			hands = append(hands, h)
			<-h.ready
		}
		<-time.After(joinLimit)
		c.settles(0, hands...)
		for len(hands) > 1 {
			hands[0].cancel()
			hands = hands[1:]
			c.settles(stopLimit, hands...)
		}
	})
}

func TestKilledWorkersPartitionsAreTakenOver(t *testing.T) {
	crewOf(t, 16, func(t *testing.T, c *crew) {
		hands := []*hand{c.join("a"), c.join("b"), c.join("c")}
		c.settles(joinLimit, hands...)
		<-time.After(time.Minute)
		hands[0].link.Cut()
		<-time.After(3 * time.Second)
		if _, err := c.shares(hands[1:]...); err == nil {
			t.Error("partitions were taken from one who may be alive")
		}
		c.settles(crashLimit-3*time.Second, hands[1:]...)
		c.rests(hands[1:]...)
	})
}

// One who dies and is started again under another name, with nobody else there.
func TestLoneWorkerIsFollowedByAnother(t *testing.T) {
	crewOf(t, 16, func(t *testing.T, c *crew) {
		a := c.join("a")
		<-a.ready
		a.link.Cut()
		b := c.join("b")
		c.settles(crashLimit, b)
		<-b.ready
		b.stop()
		began := time.Now()
		d := c.join("d")
		<-d.ready
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v to follow one who had stopped", took)
		}
		c.settles(0, d)
	})
}

// A worker without a rival takes its time to end, until there is one.
func TestLeavingWorkerHurriesForAnother(t *testing.T) {
	crewOf(t, 4, func(t *testing.T, c *crew) {
		c.linger = time.Hour
		a := c.join("a")
		<-a.ready
		a.cancel()
		<-time.After(time.Minute)
		c.settles(0, a)
		b := c.join("b")
		c.settles(joinLimit, b)
		<-a.stopped
	})
}

// NATS that was away is no reason to begin anything anew. While it is, nobody
// counts on owning anything.
func TestWorkersStayWhenNATSWasAway(t *testing.T) {
	crewOf(t, 16, func(t *testing.T, c *crew) {
		hands := []*hand{c.join("a"), c.join("b"), c.join("c")}
		c.settles(joinLimit, hands...)
		<-time.After(time.Minute)
		begun := c.timesBegun()
		c.server.Stop()
		<-time.After(time.Minute)
		for _, h := range hands {
			if h.worker.Lease().Held() {
				t.Errorf("%s trusts a lease of five seconds after a minute", h.name)
			}
		}
		c.server.Start()
		<-time.After(10 * time.Second)
		for _, h := range hands {
			if !h.worker.Lease().Held() {
				t.Errorf("%s does not hold its lease again", h.name)
			}
		}
		c.rests(hands...)
		if n := c.timesBegun(); n != begun {
			t.Errorf("work was begun %d times", n-begun)
		}
	})
}

// Who is cut off does not count on what it owns when others may have taken it, and
// when it is back ends its work on it before it counts on anything.
func TestWorkerThatWasCutOffGivesWay(t *testing.T) {
	crewOf(t, 16, func(t *testing.T, c *crew) {
		c.linger = 10 * time.Second
		a, b := c.join("a"), c.join("b")
		c.settles(joinLimit, a, b)
		<-time.After(time.Minute)
		a.link.Part()
		c.settles(crashLimit, b)
		if a.worker.Lease().Held() {
			t.Error("the lease is held by two")
		}
		a.link.Mend()
		for !a.worker.Lease().Held() {
			<-time.After(time.Millisecond)
		}
		c.mu.Lock()
		for part, at := range c.working {
			if len(at) > 1 {
				t.Errorf("%d work on partition %d and hold their lease", len(at), part)
			}
		}
		c.mu.Unlock()
		c.settles(joinLimit, a, b)
		c.rests(a, b)
	})
}

// Who comes back and finds that nobody took anything keeps its work, and has seen
// to it that who was about to take something is too late: what it wrote is newer
// than what that one has read.
func TestWorkerThatIsBackWritesItsNameAgain(t *testing.T) {
	crewOf(t, 4, func(t *testing.T, c *crew) {
		a := c.join("a")
		<-a.ready
		before := c.server.Stored("KV_POSITIONS", "$KV.POSITIONS.part.")
		a.link.Part()
		<-time.After(10 * time.Second)
		a.link.Mend()
		for !a.worker.Lease().Held() {
			<-time.After(time.Millisecond)
		}
		after := c.server.Stored("KV_POSITIONS", "$KV.POSITIONS.part.")
		for i := range c.parts {
			if after[i].Seq <= before[len(before)-1].Seq || string(after[i].Data) != "a" {
				t.Errorf("%+v stands where others read %+v", after[i], before[i])
			}
		}
		c.settles(0, a)
		if n := c.timesBegun(); n != c.parts {
			t.Errorf("work was begun %d times for %d partitions", n, c.parts)
		}
	})
}

// One that fails at a partition is asked again.
func TestWorkThatFailsIsBegunAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		tries := map[int]int{}
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			partition.NewGroup(conn).NewWorker("a").Share(ctx, func(ctx context.Context, tenure *partition.Tenure) error {
				mu.Lock()
				tries[tenure.Part]++
				n := tries[tenure.Part]
				mu.Unlock()
				if n < 4 && tenure.Part == 1 {
					return partition.ErrFenced
				}
				tenure.Prepared(ctx)
				<-ctx.Done()
				return nil
			}, func() {})
		}()
		<-time.After(10 * time.Second)
		cancel()
		<-stopped
		if tries[0] != 1 || tries[1] != 4 {
			t.Errorf("work was begun this often: %v, want once and four times", tries)
		}
	})
}
