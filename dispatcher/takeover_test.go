package dispatcher

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// manyParts is the number of partitions in tests of several dispatchers.
const manyParts = 8

// sayEvery publishes n messages by alice in !r, numbered from first, one in each interval. It
// returns the next number.
func (h *harness) sayEvery(first, n int, every time.Duration) int {
	h.t.Helper()
	for i := range n {
		h.say("!r", "@alice:x", first+i, 1)
		<-time.After(every)
	}
	return first + n
}

// audience registers n users with a pusher each, at gw.test.
func (h *harness) audience(n int) []events.UserID {
	h.t.Helper()
	return h.registerMany(n, "gw.test", "u")
}

// pushkeyOf returns the pushkey of one of an audience.
func pushkeyOf(user events.UserID) string {
	return strings.TrimSuffix(strings.TrimPrefix(string(user), "@"), ":x")
}

// checkAll is check for users with a pusher each.
func (h *harness) checkAll(users []events.UserID, repeats int) {
	h.t.Helper()
	e := h.results()
	for _, user := range users {
		h.checkResults(e, user, repeats, pushkeyOf(user))
	}
}

// owned returns how many partitions each of some dispatchers works on.
func owned(instances ...*instance) (n []int64) {
	for _, l := range instances {
		n = append(n, l.d.Stats().Partitions)
	}
	return n
}

// shared waits until dispatchers share all partitions evenly.
func (h *harness) shared(limit time.Duration, instances ...*instance) {
	h.t.Helper()
	began := time.Now()
	for {
		total, even := int64(0), true
		for _, n := range owned(instances...) {
			total += n
			even = even && n >= int64(manyParts/len(instances)) && n <= int64((manyParts+len(instances)-1)/len(instances))
		}
		if even && total == manyParts {
			h.t.Logf("%d share after %v", len(instances), time.Since(began))
			return
		}
		if time.Since(began) > limit {
			h.t.Fatalf("after %v partitions are shared like this: %v", limit, owned(instances...))
		}
		<-time.After(5 * time.Millisecond)
	}
}

// A dispatcher that starts takes its share within five seconds. One that stops hands its
// partitions over within a second. Nothing is lost or repeated.
func TestDispatchersStartAndStop(t *testing.T) {
	eventstest.Long(t)
	bubbleOf(t, manyParts, func(t *testing.T, h *harness) {
		users := h.audience(20)
		h.gateway.Answer(always(eventstest.Reply{After: 20 * time.Millisecond}))
		h.start()
		instances := []*instance{h.instance}
		h.room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		next := h.sayEvery(0, 10, 50*time.Millisecond)
		for range 3 {
			h.begin()
			instances = append(instances, h.instance)
			next = h.sayEvery(next, 10, 50*time.Millisecond)
			h.shared(5*time.Second, instances...)
			<-h.d.Ready()
			next = h.sayEvery(next, 10, 50*time.Millisecond)
		}
		for len(instances) > 1 {
			go instances[0].halt()
			instances = instances[1:]
			h.shared(time.Second, instances...)
			next = h.sayEvery(next, 10, 50*time.Millisecond)
		}
		<-time.After(10 * time.Second)
		h.checkAll(users, 0)
	})
}

// Pokes that hang do not delay a handover, and only they are repeated.
func TestHandOverWhilePokesHang(t *testing.T) {
	bubbleOf(t, manyParts, func(t *testing.T, h *harness) {
		users := h.audience(20)
		h.register("@eve:x", "slow.test", "eve")
		h.start()
		first := h.instance
		h.begin()
		second := h.instance
		h.shared(5*time.Second, first, second)
		h.room("!r", append([]events.UserID{"@alice:x", "@eve:x"}, users...)...)
		h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: time.Minute}
			}
			return eventstest.Reply{After: 200 * time.Millisecond}
		})
		next := h.sayEvery(0, 5, 100*time.Millisecond)
		for _, l := range []*instance{first, second} {
			go l.halt()
			if l == first {
				h.shared(time.Second, second)
				h.begin()
				h.shared(5*time.Second, second, h.instance)
			}
		}
		h.shared(time.Second, h.instance)
		h.sayEvery(next, 5, 100*time.Millisecond)
		h.gateway.Answer(up())
		h.caughtUp()
		<-time.After(90 * time.Second)
		h.checkAll(users, 0)
		h.check("@eve:x", 4, "eve")
	})
}

func TestKilledDispatcherIsReplaced(t *testing.T) {
	bubbleOf(t, manyParts, func(t *testing.T, h *harness) {
		users := h.audience(20)
		h.start()
		first := h.instance
		h.begin()
		second := h.instance
		h.begin()
		third := h.instance
		h.shared(5*time.Second, first, second, third)
		h.room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		next := h.sayEvery(0, 10, 50*time.Millisecond)
		go second.kill()
		for range 5 {
			next = h.sayEvery(next, 10, 100*time.Millisecond)
		}
		h.shared(5*time.Second, first, third)
		h.sayEvery(next, 10, 50*time.Millisecond)
		<-time.After(10 * time.Second)
		h.checkAll(users, repeatsOfKill)
	})
}

// A dispatcher is cut off from NATS, and another takes its partitions over. When it is
// connected again it stops working on them, and then gets a share.
func TestDispatcherCutOffFromNATSReleasesItsPartitions(t *testing.T) {
	eventstest.Long(t)
	bubbleOf(t, manyParts, func(t *testing.T, h *harness) {
		users := h.audience(20)
		h.register("@eve:x", "slow.test", "eve")
		h.start()
		old := h.instance
		h.room("!r", append([]events.UserID{"@alice:x", "@eve:x"}, users...)...)
		h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: 3 * time.Second}
			}
			return eventstest.Reply{}
		})
		h.say("!r", "@alice:x", 0, 30) // a minute and a half of work at the slow gateway
		<-time.After(10 * time.Second)
		old.link.Part()
		h.begin()
		<-h.d.Ready()
		h.sayEvery(30, 10, time.Second)
		delivered := old.d.Stats().Delivered
		old.link.Mend()
		<-time.After(time.Second)
		if now := old.d.Stats().Delivered; now > delivered+1 { // one was in flight
			t.Errorf("the old dispatcher delivered %d more before it knew what it owns", now-delivered)
		}
		h.sayEvery(40, 20, time.Second)
		h.shared(0, old, h.instance)
		h.caughtUp()
		<-time.After(2 * time.Minute)
		h.checkAll(users, 0)
		h.check("@eve:x", 12, "eve") // what both sent before the old one knew
	})
}

// Two dispatchers that both work on every partition lose nothing: their positions are fenced.
func TestTwoDispatchersWithoutLease(t *testing.T) {
	eventstest.Long(t)
	bubbleOf(t, manyParts, func(t *testing.T, h *harness) {
		users := h.audience(20)
		h.alone = true
		h.start()
		h.room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		next := 0
		for range 3 {
			h.gateway.Answer(down())
			next = h.sayEvery(next, 5, 100*time.Millisecond)
			h.gateway.Answer(up())
			h.begin() // the previous one still runs
			next = h.sayEvery(next, 10, 100*time.Millisecond)
		}
		<-time.After(5 * time.Minute)
		h.caughtUp()
		e := h.results()
		for _, user := range users {
			sent := map[events.EventID]bool{}
			for _, p := range e.arrived[pushkeyOf(user)] {
				sent[p.EventID] = true
			}
			for _, id := range h.logOf(user) {
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
	bubbleOf(t, manyParts, func(t *testing.T, h *harness) {
		users := h.audience(20)
		h.start()
		first := h.instance
		h.begin()
		h.shared(5*time.Second, first, h.instance)
		h.room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		next := h.sayEvery(0, 10, 100*time.Millisecond)
		gained := strings.Count(h.log.String(), "partitions gained")
		h.server.Stop()
		<-time.After(time.Minute)
		h.server.Start()
		eventstest.WaitFor(t, "the connection", h.conn.Connected)
		<-time.After(5 * time.Second)
		h.sayEvery(next, 10, 100*time.Millisecond)
		<-time.After(10 * time.Second)
		h.checkAll(users, 1)
		if n := strings.Count(h.log.String(), "partitions gained"); n != gained {
			t.Errorf("partitions changed hands %d times", n-gained)
		}
		if n := strings.Count(h.log.String(), "pushers and push rules loaded"); n != 2 {
			t.Errorf("pushers and push rules were loaded %d times, want once for each", n)
		}
	})
}

// Each write by which dispatchers share partitions is broken, in each way, while one joins.
func TestJoiningFaultTable(t *testing.T) {
	eventstest.Long(t)
	for _, subject := range []string{"$KV.POSITIONS.part.", "$KV.WORKERS.worker."} {
		for name, fault := range eventstest.Faults() {
			t.Run(fmt.Sprint(subject, "/", name), func(t *testing.T) {
				bubbleOf(t, manyParts, func(t *testing.T, h *harness) {
					users := h.audience(10)
					h.start()
					h.room("!r", append([]events.UserID{"@alice:x"}, users...)...)
					next := h.sayEvery(0, 5, 100*time.Millisecond)
					old := h.instance
					met := old.link.Break(subject, fault)
					h.begin()
					h.sayEvery(next, 100, 100*time.Millisecond)
					<-time.After(20 * time.Second)
					if !met() {
						t.Error("the fault never happened")
					}
					if old.link.Dead() {
						old.kill()
						h.shared(0, h.instance)
					} else {
						h.shared(0, old, h.instance)
					}
					h.checkAll(users, repeatsOfKill)
				})
			})
		}
	}
}

// Once the next owner has loaded a record, the previous owner cannot delete it any more,
// however late its deletion arrives.
func TestG1PreviousOwnerCannotDeleteALoadedRecord(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(down())
		h.say("!r", "@alice:x", 0, 3)
		<-time.After(10 * time.Second)
		h.halt()
		id := events.NewPusherID("@bob:x", "app", "bob")
		part := events.PartitionOf(events.Token(events.UserID("@bob:x")), h.conn.Partitions())
		lagging, err := h.conn.LoadBacklog(t.Context(), part)
		if err != nil || lagging[id].Revision == 0 {
			t.Fatalf("%+v, %v", lagging, err)
		}
		h.start()
		<-time.After(time.Second)
		late := make(chan error, 1)
		h.conn.BacklogRecord("predecessor", id, "@bob:x", lagging[id].Revision).Delete(func(err error) { late <- err })
		if conflict := new(stream.ConflictError); !errors.As(<-late, &conflict) {
			t.Error("the previous owner's deletion is no conflict")
		}
		h.kill() // the next one finds the record
		h.start()
		h.gateway.Answer(up())
		h.caughtUp()
		h.check("@bob:x", 0, "bob")
	})
}
