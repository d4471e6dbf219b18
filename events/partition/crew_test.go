package partition_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poked/events/natstest"
	"poked/events/partition"
	"poked/events/stream"
)

// crew is a set of workers that share partitions. It records which of them work on each
// partition.
type crew struct {
	t      *testing.T
	server *natstest.Server
	parts  int
	linger time.Duration // how long work takes to end if no other worker wants the partition

	mu      sync.Mutex
	working map[int][]*member // the workers on each partition
	begun   int               // how often work on a partition was begun
}

// handOver is how long work takes to end if another worker wants the partition.
const handOver = 500 * time.Millisecond

// member is one worker of a crew.
type member struct {
	name    string
	worker  *partition.Worker
	link    *natstest.Link
	ready   chan struct{}
	cancel  context.CancelFunc
	stopped chan struct{}
}

// crewOf runs a test in a bubble, with workers that share this many partitions.
func crewOf(t *testing.T, parts int, test func(t *testing.T, c *crew)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		test(t, &crew{t: t, server: natstest.StartServer(t), parts: parts, working: map[int][]*member{}})
	})
}

// join starts a worker.
func (c *crew) join(name string) *member {
	c.t.Helper()
	m := c.signUp(name)
	c.begin(m)
	return m
}

// signUp makes a worker without starting it.
func (c *crew) signUp(name string) *member {
	c.t.Helper()
	link := c.server.Link()
	conn := link.Connect(c.t, stream.Topology{Partitions: c.parts, Replicas: 1})
	return &member{name: name, worker: partition.NewGroup(conn).NewWorker(name), link: link, ready: make(chan struct{}), stopped: make(chan struct{})}
}

func (c *crew) begin(m *member) {
	ctx, cancel := context.WithCancel(c.t.Context())
	m.cancel, m.link.Killed = cancel, cancel
	go func() {
		defer close(m.stopped)
		m.worker.Share(ctx, func(ctx context.Context, t *partition.Tenure) error { return c.work(ctx, m, t) }, func() { close(m.ready) })
	}()
	c.t.Cleanup(m.stop)
}

// stop stops a worker and waits until it has released its partitions.
func (m *member) stop() {
	m.cancel()
	<-m.stopped
}

func (c *crew) work(ctx context.Context, m *member, t *partition.Tenure) error {
	t.Prepared(ctx)
	c.mu.Lock()
	for _, other := range c.working[t.Part] {
		if other.worker.Lease().Held() {
			c.t.Errorf("%s begins with partition %d, which %s owns", m.name, t.Part, other.name)
		}
	}
	c.working[t.Part] = append(c.working[t.Part], m)
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
	c.working[t.Part] = slices.DeleteFunc(c.working[t.Part], func(other *member) bool { return other == m })
	return nil
}

// shares returns the number of partitions that each of some workers works on. It is an
// error if a partition does not have exactly one of these workers, or if the numbers
// are not even.
func (c *crew) shares(members ...*member) (map[string]int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := map[string]int{}
	for part := range c.parts {
		at := slices.DeleteFunc(slices.Clone(c.working[part]), func(m *member) bool { return !slices.Contains(members, m) })
		if len(at) != 1 {
			return nil, fmt.Errorf("partition %d has %d workers", part, len(at))
		}
		n[at[0].name]++
	}
	for _, m := range members {
		if n[m.name] < c.parts/len(members) || n[m.name] > (c.parts+len(members)-1)/len(members) {
			return n, fmt.Errorf("partitions are not shared evenly: %v", n)
		}
	}
	return n, nil
}

// settles waits until these workers share all partitions evenly, and checks that this
// takes no longer than limit.
func (c *crew) settles(limit time.Duration, members ...*member) {
	c.t.Helper()
	began := time.Now()
	var err error
	for time.Since(began) <= limit {
		if _, err = c.shares(members...); err == nil {
			c.t.Logf("%d share after %v", len(members), time.Since(began))
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	c.t.Fatalf("after %v: %v", limit, err)
}

// rests checks that no partition changes its worker for a minute.
func (c *crew) rests(members ...*member) {
	c.t.Helper()
	begun := c.timesBegun()
	<-time.After(time.Minute)
	if _, err := c.shares(members...); err != nil || c.timesBegun() != begun {
		c.t.Errorf("although nothing happened: %v, and work began %d times", err, c.timesBegun()-begun)
	}
}

// timesBegun returns how often work on a partition has begun.
func (c *crew) timesBegun() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun
}
