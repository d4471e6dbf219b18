package partition_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/partition"
)

const (
	joinLimit  = 5 * time.Second
	crashLimit = 10 * time.Second
	stopLimit  = time.Second
)

func TestWorkersShareEvenly(t *testing.T) {
	eventstest.Long(t)
	crewOf(t, 16, func(t *testing.T, c *crew) {
		c.linger = 10 * time.Second
		var members []*member
		for i := range 5 {
			m := c.join(fmt.Sprint("w", i))
			members = append(members, m)
			c.settles(joinLimit, members...)
			<-m.ready
		}
		c.rests(members...)
		for len(members) > 1 {
			members[0].cancel()
			members = members[1:]
			c.settles(stopLimit, members...)
		}
		c.rests(members...)
	})
}

// Workers beyond the number of partitions wait without a share.
func TestWorkersStandBy(t *testing.T) {
	crewOf(t, 2, func(t *testing.T, c *crew) {
		var members []*member
		for i := range 4 {
			m := c.join(fmt.Sprint("w", i))
			members = append(members, m)
			<-m.ready
		}
		<-time.After(joinLimit)
		c.settles(0, members...)
		for len(members) > 1 {
			members[0].cancel()
			members = members[1:]
			c.settles(stopLimit, members...)
		}
	})
}

func TestKilledWorkersPartitionsAreTakenOver(t *testing.T) {
	eventstest.Long(t)
	crewOf(t, 16, func(t *testing.T, c *crew) {
		members := []*member{c.join("a"), c.join("b"), c.join("c")}
		c.settles(joinLimit, members...)
		<-time.After(time.Minute)
		members[0].link.Cut()
		<-time.After(3 * time.Second)
		if _, err := c.shares(members[1:]...); err == nil {
			t.Error("partitions were taken from a worker that may be alive")
		}
		c.settles(crashLimit-3*time.Second, members[1:]...)
		c.rests(members[1:]...)
	})
}

// A worker that is alone crashes and is restarted under another name.
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
			t.Errorf("it took %v to take over from a worker that had stopped", took)
		}
		c.settles(0, d)
	})
}

// A worker that leaves takes its time unless another worker wants its partitions.
func TestLeavingWorkerHurriesForAnother(t *testing.T) {
	eventstest.Long(t)
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

// An outage of NATS does not restart any work. During the outage no worker holds its
// lease.
func TestWorkersStayWhenNATSWasAway(t *testing.T) {
	crewOf(t, 16, func(t *testing.T, c *crew) {
		members := []*member{c.join("a"), c.join("b"), c.join("c")}
		c.settles(joinLimit, members...)
		<-time.After(time.Minute)
		begun := c.timesBegun()
		c.server.Stop()
		<-time.After(time.Minute)
		for _, m := range members {
			if m.worker.Lease().Held() {
				t.Errorf("%s holds a lease of five seconds after a minute", m.name)
			}
		}
		c.server.Start()
		<-time.After(10 * time.Second)
		for _, m := range members {
			if !m.worker.Lease().Held() {
				t.Errorf("%s does not hold its lease again", m.name)
			}
		}
		c.rests(members...)
		if n := c.timesBegun(); n != begun {
			t.Errorf("work began %d times", n-begun)
		}
	})
}

// A worker that is cut off loses its lease before others take its partitions. Once it
// is back, it ends its work on those partitions before it holds its lease again.
func TestWorkerThatWasCutOffGivesWay(t *testing.T) {
	crewOf(t, 16, func(t *testing.T, c *crew) {
		c.linger = 10 * time.Second
		a, b := c.join("a"), c.join("b")
		c.settles(joinLimit, a, b)
		<-time.After(time.Minute)
		a.link.Part()
		c.settles(crashLimit, b)
		if a.worker.Lease().Held() {
			t.Error("two workers hold their lease on the same partitions")
		}
		a.link.Mend()
		for !a.worker.Lease().Held() {
			<-time.After(time.Millisecond)
		}
		c.mu.Lock()
		for part, at := range c.working {
			if len(at) > 1 {
				t.Errorf("%d workers of partition %d hold their lease", len(at), part)
			}
		}
		c.mu.Unlock()
		c.settles(joinLimit, a, b)
		c.rests(a, b)
	})
}

// A worker that is back and still owns its partitions continues its work. It has
// written its name again first, so that a worker that was about to take one of them
// finds a newer revision than it has read.
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
				t.Errorf("the owner is %+v, and was %+v before", after[i], before[i])
			}
		}
		c.settles(0, a)
		if n := c.timesBegun(); n != c.parts {
			t.Errorf("work began %d times for %d partitions", n, c.parts)
		}
	})
}

// Work that fails is begun again.
func TestWorkThatFailsIsBegunAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
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
			t.Errorf("work began this often: %v, want once and four times", tries)
		}
	})
}
