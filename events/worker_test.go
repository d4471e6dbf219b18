package events_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// crew is workers that share partitions, and a ledger of who works on what.
type crew struct {
	t      *testing.T
	server *eventstest.Server
	parts  int
	linger time.Duration // how long the work on a partition takes to end that nobody wants

	mu      sync.Mutex
	working map[int][]*hand // by partition
	begun   int             // how often work on a partition was begun
}

// handOver is how long it takes to end if somebody does.
const handOver = 500 * time.Millisecond

// hand is one worker of a crew.
type hand struct {
	name    string
	worker  *events.Worker
	link    *eventstest.Link
	ready   chan struct{}
	cancel  context.CancelFunc
	stopped chan struct{}
}

// crewOf tells a story of workers that share this many partitions.
func crewOf(t *testing.T, parts int, story func(t *testing.T, c *crew)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		story(t, &crew{t: t, server: eventstest.StartServer(t), parts: parts, working: map[int][]*hand{}})
	})
}

// join has a worker begin.
func (c *crew) join(name string) *hand {
	c.t.Helper()
	h := c.signUp(name)
	c.begin(h)
	return h
}

// signUp makes a worker that has not begun.
func (c *crew) signUp(name string) *hand {
	c.t.Helper()
	link := c.server.Link()
	conn := link.Connect(c.t, events.Topology{Partitions: c.parts, Replicas: 1})
	return &hand{name: name, worker: conn.NewWorker(name), link: link, ready: make(chan struct{}), stopped: make(chan struct{})}
}

func (c *crew) begin(h *hand) {
	ctx, cancel := context.WithCancel(c.t.Context())
	h.cancel, h.link.Killed = cancel, cancel
	go func() {
		defer close(h.stopped)
		h.worker.Share(ctx, func(ctx context.Context, t *events.Tenure) error { return c.work(ctx, h, t) }, func() { close(h.ready) })
	}()
	c.t.Cleanup(h.stop)
}

// stop has a worker give back what it has, and end.
func (h *hand) stop() {
	h.cancel()
	<-h.stopped
}

func (c *crew) work(ctx context.Context, h *hand, t *events.Tenure) error {
	t.Prepared(ctx)
	c.mu.Lock()
	for _, other := range c.working[t.Part] {
		if other.worker.Lease().Held() {
			c.t.Errorf("%s begins with partition %d, which %s owns", h.name, t.Part, other.name)
		}
	}
	c.working[t.Part] = append(c.working[t.Part], h)
	c.begun++
	c.mu.Unlock()
	<-ctx.Done()
	limit := time.After(c.linger)
	for wanted := t.Wanted; ; {
		select {
		case <-wanted:
			limit, wanted = time.After(min(c.linger, handOver)), nil
			continue
		case <-limit:
		}
		break
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.working[t.Part] = slices.DeleteFunc(c.working[t.Part], func(other *hand) bool { return other == h })
	return nil
}

// shares returns how many partitions each of some workers works on, or an error
// if not all are worked on, each by one of them.
func (c *crew) shares(hands ...*hand) (map[string]int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := map[string]int{}
	for part := range c.parts {
		at := slices.DeleteFunc(slices.Clone(c.working[part]), func(h *hand) bool { return !slices.Contains(hands, h) })
		if len(at) != 1 {
			return nil, fmt.Errorf("%d work on partition %d", len(at), part)
		}
		n[at[0].name]++
	}
	for _, h := range hands {
		if n[h.name] < c.parts/len(hands) || n[h.name] > (c.parts+len(hands)-1)/len(hands) {
			return n, fmt.Errorf("partitions are not shared evenly: %v", n)
		}
	}
	return n, nil
}

// settles waits until these workers share all partitions evenly, and checks that
// it took no longer than limit.
func (c *crew) settles(limit time.Duration, hands ...*hand) {
	c.t.Helper()
	began := time.Now()
	var err error
	for time.Since(began) <= limit {
		if _, err = c.shares(hands...); err == nil {
			c.t.Logf("%d share after %v", len(hands), time.Since(began))
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	c.t.Fatalf("after %v: %v", limit, err)
}

// rests checks that nothing changes hands for a while.
func (c *crew) rests(hands ...*hand) {
	c.t.Helper()
	begun := c.begun
	<-time.After(time.Minute)
	if _, err := c.shares(hands...); err != nil || c.begun != begun {
		c.t.Errorf("while nothing happened: %v, and work was begun %d times", err, c.begun-begun)
	}
}

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
		begun := c.begun
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
		if c.begun != begun {
			t.Errorf("work was begun %d times", c.begun-begun)
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
		for part, at := range c.working {
			if len(at) > 1 {
				t.Errorf("%d work on partition %d and hold their lease", len(at), part)
			}
		}
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
		if c.begun != c.parts {
			t.Errorf("work was begun %d times for %d partitions", c.begun, c.parts)
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
			conn.NewWorker("a").Share(ctx, func(ctx context.Context, tenure *events.Tenure) error {
				mu.Lock()
				tries[tenure.Part]++
				n := tries[tenure.Part]
				mu.Unlock()
				if n < 4 && tenure.Part == 1 {
					return events.ErrFenced
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
