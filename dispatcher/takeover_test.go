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

// manyParts is how many partitions there are where dispatchers share them.
const manyParts = 16

// talk has alice speak for a while, n messages from number first on, and returns the
// number of the next one.
func (h *house) talk(first, n int, every time.Duration) int {
	h.t.Helper()
	for i := range n {
		h.say("!r", "@alice:x", first+i, 1)
		<-time.After(every)
	}
	return first + n
}

// audience makes n users with a pusher each, at gw.test.
func (h *house) audience(n int) []events.UserID {
	h.t.Helper()
	return h.registerMany(n, "gw.test", "u")
}

// pushkeyOf returns the pushkey of one of an audience.
func pushkeyOf(user events.UserID) string {
	return strings.TrimSuffix(strings.TrimPrefix(string(user), "@"), ":x")
}

// promiseAll checks what every story must end with, for users with a pusher each.
func (h *house) promiseAll(users []events.UserID, repeats int) {
	h.t.Helper()
	e := h.evidence()
	for _, user := range users {
		h.promiseBy(e, user, repeats, pushkeyOf(user))
	}
}

// owned returns how many partitions each of some dispatchers works on.
func owned(lives ...*life) (n []int64) {
	for _, l := range lives {
		n = append(n, l.d.Stats().Partitions)
	}
	return n
}

// shared waits until dispatchers share all partitions evenly.
func (h *house) shared(limit time.Duration, lives ...*life) {
	h.t.Helper()
	began := time.Now()
	for {
		total, even := int64(0), true
		for _, n := range owned(lives...) {
			total += n
			even = even && n >= int64(manyParts/len(lives)) && n <= int64((manyParts+len(lives)-1)/len(lives))
		}
		if even && total == manyParts {
			h.t.Logf("%d share after %v", len(lives), time.Since(began))
			return
		}
		if time.Since(began) > limit {
			h.t.Fatalf("after %v partitions are shared like this: %v", limit, owned(lives...))
		}
		<-time.After(5 * time.Millisecond)
	}
}

// A dispatcher that comes takes its share within five seconds, one that is stopped
// hands its own over within a second, and nobody notices.
func TestDispatchersComeAndGo(t *testing.T) {
	eventstest.Long(t)
	bubbleOf(t, manyParts, func(t *testing.T, h *house) {
		users := h.audience(20)
		h.gateway.Answer(always(eventstest.Reply{After: 20 * time.Millisecond}))
		h.start()
		lives := []*life{h.life}
		h.room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		next := h.talk(0, 10, 50*time.Millisecond)
		for range 3 {
			h.begin()
			lives = append(lives, h.life)
			next = h.talk(next, 10, 50*time.Millisecond)
			h.shared(5*time.Second, lives...)
			<-h.d.Ready()
			next = h.talk(next, 10, 50*time.Millisecond)
		}
		for len(lives) > 1 {
			go lives[0].halt()
			lives = lives[1:]
			h.shared(time.Second, lives...)
			next = h.talk(next, 10, 50*time.Millisecond)
		}
		<-time.After(10 * time.Second)
		h.promiseAll(users, 0)
	})
}

// Pokes that hang keep nobody from handing over, and are all that is told again.
func TestHandOverWhilePokesHang(t *testing.T) {
	bubbleOf(t, manyParts, func(t *testing.T, h *house) {
		users := h.audience(20)
		h.register("@eve:x", "slow.test", "eve")
		h.start()
		first := h.life
		h.begin()
		second := h.life
		h.shared(5*time.Second, first, second)
		h.room("!r", append([]events.UserID{"@alice:x", "@eve:x"}, users...)...)
		h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: time.Minute}
			}
			return eventstest.Reply{After: 200 * time.Millisecond}
		})
		next := h.talk(0, 5, 100*time.Millisecond)
		for _, l := range []*life{first, second} {
			go l.halt()
			if l == first {
				h.shared(time.Second, second)
				h.begin()
				h.shared(5*time.Second, second, h.life)
			}
		}
		h.shared(time.Second, h.life)
		h.talk(next, 5, 100*time.Millisecond)
		h.gateway.Answer(up())
		h.calm()
		<-time.After(90 * time.Second)
		h.promiseAll(users, 0)
		h.promise("@eve:x", 4, "eve")
	})
}

func TestKilledDispatcherIsReplaced(t *testing.T) {
	bubbleOf(t, manyParts, func(t *testing.T, h *house) {
		users := h.audience(20)
		h.start()
		first := h.life
		h.begin()
		second := h.life
		h.begin()
		third := h.life
		h.shared(5*time.Second, first, second, third)
		h.room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		next := h.talk(0, 10, 50*time.Millisecond)
		go second.kill()
		for range 5 {
			next = h.talk(next, 10, 100*time.Millisecond)
		}
		h.shared(5*time.Second, first, third)
		h.talk(next, 10, 50*time.Millisecond)
		<-time.After(10 * time.Second)
		h.promiseAll(users, whileDying)
	})
}

// A dispatcher that NATS took for dead, and that comes back: its successor has
// taken over, it gives way, and then gets a share again.
func TestPartitionedDispatcherGivesWay(t *testing.T) {
	eventstest.Long(t)
	bubbleOf(t, manyParts, func(t *testing.T, h *house) {
		users := h.audience(20)
		h.register("@eve:x", "slow.test", "eve")
		h.start()
		old := h.life
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
		h.talk(30, 10, time.Second)
		told := old.d.Stats().Delivered
		old.link.Mend()
		<-time.After(time.Second)
		if now := old.d.Stats().Delivered; now > told+1 { // what was out
			t.Errorf("the old dispatcher told %d more before it knew what it owns", now-told)
		}
		h.talk(40, 20, time.Second)
		h.shared(0, old, h.life)
		h.calm()
		<-time.After(2 * time.Minute)
		h.promiseAll(users, 0)
		h.promise("@eve:x", 12, "eve") // what both told before the old one knew
	})
}

// Two who both believe that they own everything lose nothing: their positions are
// fenced.
func TestTwoBelieveThatTheyOwnEverything(t *testing.T) {
	eventstest.Long(t)
	bubbleOf(t, manyParts, func(t *testing.T, h *house) {
		users := h.audience(20)
		h.alone = true
		h.start()
		h.room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		next := 0
		for range 3 {
			h.gateway.Answer(down())
			next = h.talk(next, 5, 100*time.Millisecond)
			h.gateway.Answer(up())
			h.begin() // beside the one before, which is still at work
			next = h.talk(next, 10, 100*time.Millisecond)
		}
		<-time.After(5 * time.Minute)
		h.calm()
		e := h.evidence()
		for _, user := range users {
			told := map[events.EventID]bool{}
			for _, p := range e.arrived[pushkeyOf(user)] {
				told[p.EventID] = true
			}
			for _, id := range h.logOf(user) {
				if !told[id] {
					t.Errorf("%s was never told %s", user, id)
				}
			}
			if len(told) != next {
				t.Errorf("%s was told of %d events, want %d", user, len(told), next)
			}
		}
	})
}

// NATS that is away is no reason to load anything anew, or to hand anything over.
func TestDispatchersStayWhenNATSWasAway(t *testing.T) {
	bubbleOf(t, manyParts, func(t *testing.T, h *house) {
		users := h.audience(20)
		h.start()
		first := h.life
		h.begin()
		h.shared(5*time.Second, first, h.life)
		h.room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		next := h.talk(0, 10, 100*time.Millisecond)
		gained := strings.Count(h.log.String(), "partitions gained")
		h.server.Stop()
		<-time.After(time.Minute)
		h.server.Start()
		eventstest.WaitFor(t, "the connection", h.conn.Connected)
		<-time.After(5 * time.Second)
		h.talk(next, 10, 100*time.Millisecond)
		<-time.After(10 * time.Second)
		h.promiseAll(users, 1)
		if n := strings.Count(h.log.String(), "partitions gained"); n != gained {
			t.Errorf("partitions changed hands %d times", n-gained)
		}
		if n := strings.Count(h.log.String(), "pushers and push rules loaded"); n != 2 {
			t.Errorf("pushers and push rules were loaded %d times, want once for each", n)
		}
	})
}

// Each write by which dispatchers agree is broken, in each way, while one joins.
func TestJoiningFaultTable(t *testing.T) {
	eventstest.Long(t)
	for _, subject := range []string{"$KV.POSITIONS.part.", "$KV.WORKERS.worker."} {
		for name, fault := range eventstest.Faults() {
			t.Run(fmt.Sprint(subject, "/", name), func(t *testing.T) {
				bubbleOf(t, manyParts, func(t *testing.T, h *house) {
					users := h.audience(10)
					h.start()
					h.room("!r", append([]events.UserID{"@alice:x"}, users...)...)
					next := h.talk(0, 5, 100*time.Millisecond)
					old := h.life
					met := old.link.Break(subject, fault)
					h.begin()
					h.talk(next, 100, 100*time.Millisecond)
					<-time.After(20 * time.Second)
					if !met() {
						t.Error("the fault was never met")
					}
					if old.link.Dead() {
						old.kill()
						h.shared(0, h.life)
					} else {
						h.shared(0, old, h.life)
					}
					h.promiseAll(users, whileDying)
				})
			})
		}
	}
}

// A record that a successor has read is not its predecessor's to delete any more,
// however late that deletion comes.
func TestG1RestoredRecordIsNotThePredecessorsToDelete(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
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
			t.Error("the predecessor does not hear that its successor has written")
		}
		h.kill() // whoever comes next finds it
		h.start()
		h.gateway.Answer(up())
		h.calm()
		h.promise("@bob:x", 0, "bob")
	})
}
