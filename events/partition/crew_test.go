package partition_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poked/events/eventstest"
	"poked/events/partition"
	"poked/events/stream"
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
	worker  *partition.Worker
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
	conn := link.Connect(c.t, stream.Topology{Partitions: c.parts, Replicas: 1})
	return &hand{name: name, worker: partition.NewGroup(conn).NewWorker(name), link: link, ready: make(chan struct{}), stopped: make(chan struct{})}
}

func (c *crew) begin(h *hand) {
	ctx, cancel := context.WithCancel(c.t.Context())
	h.cancel, h.link.Killed = cancel, cancel
	go func() {
		defer close(h.stopped)
		h.worker.Share(ctx, func(ctx context.Context, t *partition.Tenure) error { return c.work(ctx, h, t) }, func() { close(h.ready) })
	}()
	c.t.Cleanup(h.stop)
}

// stop has a worker give back what it has, and end.
func (h *hand) stop() {
	h.cancel()
	<-h.stopped
}

func (c *crew) work(ctx context.Context, h *hand, t *partition.Tenure) error {
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
	begun := c.timesBegun()
	<-time.After(time.Minute)
	if _, err := c.shares(hands...); err != nil || c.timesBegun() != begun {
		c.t.Errorf("while nothing happened: %v, and work was begun %d times", err, c.timesBegun()-begun)
	}
}

// timesBegun returns how often work on a partition was begun.
func (c *crew) timesBegun() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun
}
