package owners_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/stream"
)

// A dispatcher that starts takes its share within five seconds. One that stops hands its
// partitions over within a second. Nothing is lost or repeated.
func TestDispatchersStartAndStop(t *testing.T) {
	eventstest.Long(t)
	bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
		users := h.Audience(20)
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{After: 20 * time.Millisecond}))
		h.Start()
		instances := []*instance{h.Instance}
		h.Room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		next := h.SayEvery(0, 10, 50*time.Millisecond)
		for range 3 {
			h.Begin()
			instances = append(instances, h.Instance)
			next = h.SayEvery(next, 10, 50*time.Millisecond)
			h.Shared(5*time.Second, instances...)
			<-h.Dispatcher.Ready()
			next = h.SayEvery(next, 10, 50*time.Millisecond)
		}
		for len(instances) > 1 {
			go instances[0].Halt()
			instances = instances[1:]
			h.Shared(time.Second, instances...)
			next = h.SayEvery(next, 10, 50*time.Millisecond)
		}
		<-time.After(10 * time.Second)
		h.CheckAll(users, 0)
	})
}

// Pokes that hang do not delay a handover, and only they are repeated.
func TestHandOverWhilePokesHang(t *testing.T) {
	bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
		users := h.Audience(20)
		h.Register("@eve:x", "slow.test", "eve")
		h.Start()
		first := h.Instance
		h.Begin()
		second := h.Instance
		h.Shared(5*time.Second, first, second)
		h.Room("!r", append([]events.UserID{"@alice:x", "@eve:x"}, users...)...)
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: time.Minute}
			}
			return eventstest.Reply{After: 200 * time.Millisecond}
		})
		next := h.SayEvery(0, 5, 100*time.Millisecond)
		for _, l := range []*instance{first, second} {
			go l.Halt()
			if l == first {
				h.Shared(time.Second, second)
				h.Begin()
				h.Shared(5*time.Second, second, h.Instance)
			}
		}
		h.Shared(time.Second, h.Instance)
		h.SayEvery(next, 5, 100*time.Millisecond)
		h.GatewayUp()
		h.CaughtUp()
		<-time.After(90 * time.Second)
		h.CheckAll(users, 0)
		h.Check("@eve:x", 4, "eve")
	})
}

func TestKilledDispatcherIsReplaced(t *testing.T) {
	bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
		users := h.Audience(20)
		h.Start()
		first := h.Instance
		h.Begin()
		second := h.Instance
		h.Begin()
		third := h.Instance
		h.Shared(5*time.Second, first, second, third)
		h.Room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		next := h.SayEvery(0, 10, 50*time.Millisecond)
		go second.Kill()
		for range 5 {
			next = h.SayEvery(next, 10, 100*time.Millisecond)
		}
		h.Shared(5*time.Second, first, third)
		h.SayEvery(next, 10, 50*time.Millisecond)
		<-time.After(10 * time.Second)
		h.CheckAll(users, dispatchertest.RepeatsOfKill)
	})
}

// A dispatcher is cut off from NATS, and another takes its partitions over. When it is
// connected again it stops working on them, and then gets a share.
func TestDispatcherCutOffFromNATSReleasesItsPartitions(t *testing.T) {
	eventstest.Long(t)
	bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
		users := h.Audience(20)
		h.Register("@eve:x", "slow.test", "eve")
		h.Start()
		old := h.Instance
		h.Room("!r", append([]events.UserID{"@alice:x", "@eve:x"}, users...)...)
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: 3 * time.Second}
			}
			return eventstest.Reply{}
		})
		h.Say("!r", "@alice:x", 0, 30) // a minute and a half of work at the slow gateway
		<-time.After(10 * time.Second)
		old.Link.Part()
		h.Begin()
		<-h.Dispatcher.Ready()
		h.SayEvery(30, 10, time.Second)
		delivered := old.Dispatcher.Stats().Delivered
		old.Link.Mend()
		<-time.After(time.Second)
		if now := old.Dispatcher.Stats().Delivered; now > delivered+1 { // one was in flight
			t.Errorf("the old dispatcher delivered %d more before it knew what it owns", now-delivered)
		}
		h.SayEvery(40, 20, time.Second)
		h.Shared(0, old, h.Instance)
		h.CaughtUp()
		<-time.After(2 * time.Minute)
		h.CheckAll(users, 0)
		h.Check("@eve:x", 12, "eve") // what both sent before the old one knew
	})
}

// Two dispatchers that both work on every partition lose nothing: their positions are fenced.
func TestTwoDispatchersWithoutLease(t *testing.T) {
	eventstest.Long(t)
	bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
		users := h.Audience(20)
		h.Alone = true
		h.Start()
		h.Room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		next := 0
		for range 3 {
			h.GatewayDown()
			next = h.SayEvery(next, 5, 100*time.Millisecond)
			h.GatewayUp()
			h.Begin() // the previous one still runs
			next = h.SayEvery(next, 10, 100*time.Millisecond)
		}
		<-time.After(5 * time.Minute)
		h.CaughtUp()
		e := h.Results()
		for _, user := range users {
			sent := map[events.EventID]bool{}
			for _, p := range e.Arrived[dispatchertest.PushkeyOf(user)] {
				sent[p.EventID] = true
			}
			for _, id := range h.LogOf(user) {
				if !sent[id] {
					t.Errorf("%s never got %s", user, id)
				}
			}
			if len(sent) != next {
				t.Errorf("%s got %d events, want %d", user, len(sent), next)
			}
		}
	})
}

// When NATS was away, nothing is loaded again and no partition changes hands.
func TestDispatchersStayWhenNATSWasAway(t *testing.T) {
	bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
		users := h.Audience(20)
		h.Start()
		first := h.Instance
		h.Begin()
		h.Shared(5*time.Second, first, h.Instance)
		h.Room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		next := h.SayEvery(0, 10, 100*time.Millisecond)
		gained := strings.Count(h.Log.String(), "partitions gained")
		h.Server.Stop()
		<-time.After(time.Minute)
		h.Server.Start()
		eventstest.WaitFor(t, "the connection", h.Conn.Connected)
		<-time.After(5 * time.Second)
		h.SayEvery(next, 10, 100*time.Millisecond)
		<-time.After(10 * time.Second)
		h.CheckAll(users, 1)
		if n := strings.Count(h.Log.String(), "partitions gained"); n != gained {
			t.Errorf("partitions changed hands %d times", n-gained)
		}
		if n := strings.Count(h.Log.String(), "pushers and push rules loaded"); n != 2 {
			t.Errorf("pushers and push rules were loaded %d times, want once for each", n)
		}
	})
}

// Each write by which dispatchers share partitions is broken, in each way, while one joins.
func TestJoiningFaultTable(t *testing.T) {
	eventstest.Long(t)
	for _, subject := range []string{"$KV.POSITIONS.part.", "$KV.WORKERS.worker."} {
		for name, fault := range natstest.Faults() {
			t.Run(fmt.Sprint(subject, "/", name), func(t *testing.T) {
				bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
					users := h.Audience(10)
					h.Start()
					h.Room("!r", append([]events.UserID{"@alice:x"}, users...)...)
					next := h.SayEvery(0, 5, 100*time.Millisecond)
					old := h.Instance
					met := old.Link.Break(subject, fault)
					h.Begin()
					h.SayEvery(next, 100, 100*time.Millisecond)
					<-time.After(20 * time.Second)
					if !met() {
						t.Error("the fault never happened")
					}
					if old.Link.Dead() {
						old.Kill()
						h.Shared(0, h.Instance)
					} else {
						h.Shared(0, old, h.Instance)
					}
					h.CheckAll(users, dispatchertest.RepeatsOfKill)
				})
			})
		}
	}
}

// Once the next owner has loaded a record, the previous owner cannot delete it any more,
// however late its deletion arrives.
func TestG1PreviousOwnerCannotDeleteALoadedRecord(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.GatewayDown()
		h.Say("!r", "@alice:x", 0, 3)
		<-time.After(10 * time.Second)
		h.Halt()
		id := events.NewPusherID("@bob:x", "app", "bob")
		part := events.PartitionOf(events.Token(events.UserID("@bob:x")), h.Conn.Topology().Partitions)
		lagging, err := h.Conn.LoadBacklog(t.Context(), part)
		if err != nil || lagging[id].Revision == 0 {
			t.Fatalf("%+v, %v", lagging, err)
		}
		h.Start()
		<-time.After(time.Second)
		late := make(chan error, 1)
		h.Conn.BacklogRecord("predecessor", id, "@bob:x", lagging[id].Revision).Delete(func(err error) { late <- err })
		if conflict := new(stream.ConflictError); !errors.As(<-late, &conflict) {
			t.Error("the previous owner's deletion is no conflict")
		}
		h.Kill() // the next one finds the record
		h.Start()
		h.GatewayUp()
		h.CaughtUp()
		h.Check("@bob:x", 0, "bob")
	})
}

// The same with the log in four streams. POKED_TEST_STREAMS=4 runs all tests like that.
func TestG1InFourStreams(t *testing.T) {
	eventstest.Long(t)
	t.Setenv("POKED_TEST_STREAMS", "4")
	t.Run("killed", TestKilledDispatcherIsReplaced)
	t.Run("cut off", TestDispatcherCutOffFromNATSReleasesItsPartitions)
}
