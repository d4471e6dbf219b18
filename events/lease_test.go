package events_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// candidate wants to lead, and notes when it does.
type candidate struct {
	led     chan time.Time // each time it begins to lead
	lease   *events.Lease  // of the last time
	lost    chan time.Time // each time it no longer does
	cancel  context.CancelFunc
	stopped chan error
}

func lead(t *testing.T, conn *events.Conn, name string) *candidate {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &candidate{led: make(chan time.Time, 9), lost: make(chan time.Time, 9), cancel: cancel, stopped: make(chan error, 1)}
	go func() {
		c.stopped <- conn.Lead(ctx, name, func(ctx context.Context, lease *events.Lease) error {
			c.lease = lease
			c.led <- time.Now()
			<-ctx.Done()
			c.lost <- time.Now()
			return nil
		})
	}()
	t.Cleanup(cancel)
	return c
}

func TestStandbyTakesOverAtOnceAfterAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		server.Connect(eventstest.Topology())
		first := lead(t, server.Connect(eventstest.Topology()), "first")
		<-first.led
		second := lead(t, server.Connect(eventstest.Topology()), "second")
		<-time.After(time.Minute)
		if len(second.led) > 0 || len(first.lost) > 0 {
			t.Fatal("two lead, or none")
		}
		stopped := time.Now()
		first.cancel()
		if err := <-first.stopped; err != nil {
			t.Error(err)
		}
		if took := (<-second.led).Sub(stopped); took > time.Second {
			t.Errorf("the standby took over after %v", took)
		}
	})
}

func TestStandbyTakesOverFromTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		link := server.Link()
		first := lead(t, link.Connect(t, eventstest.Topology()), "first")
		<-first.led
		second := lead(t, server.Connect(eventstest.Topology()), "second")
		<-time.After(time.Minute)
		died := time.Now()
		link.Cut()
		took := (<-second.led).Sub(died)
		if took < 3*time.Second || took > 7*time.Second {
			t.Errorf("the standby took over after %v, want about 5s", took)
		}
	})
}

// Who is cut off does not count on its lease when another may have it, and not
// before it knows better either.
func TestLeaseIsNotTrustedBeyondItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		link := server.Link()
		first := lead(t, link.Connect(t, eventstest.Topology()), "first")
		<-first.led
		<-time.After(time.Minute)
		if !first.lease.Held() {
			t.Error("the lease that is renewed is not held")
		}
		link.Part()
		second := lead(t, server.Connect(eventstest.Topology()), "second")
		<-second.led
		if first.lease.Held() {
			t.Error("the lease is held by two")
		}
		link.Mend()
		<-first.lost
		if first.lease.Held() || !second.lease.Held() {
			t.Error("the first holds the lease again, or the second does no more")
		}
	})
}

func TestLeaseIsTrustedAgainWhenNATSIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		first := lead(t, server.Connect(eventstest.Topology()), "first")
		<-first.led
		server.Stop()
		<-time.After(time.Minute)
		if first.lease.Held() {
			t.Error("a lease of five seconds is trusted after a minute")
		}
		server.Start()
		<-time.After(time.Minute)
		if !first.lease.Held() {
			t.Error("the lease is not trusted again")
		}
	})
}

// NATS that was away is no reason to give the lead to another.
func TestLeaderStaysWhenNATSWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		first := lead(t, conn, "first")
		<-first.led
		server.Stop()
		<-time.After(time.Minute)
		server.Start()
		<-time.After(time.Minute)
		if len(first.lost) > 0 || len(first.led) > 0 {
			t.Error("the leader stopped leading")
		}
	})
}

func TestLeadReturnsWhatLeadingFailsWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		broken := errors.New("broken")
		err := conn.Lead(t.Context(), "first", func(context.Context, *events.Lease) error { return broken })
		if !errors.Is(err, broken) {
			t.Errorf("Lead returned %v", err)
		}
	})
}
