package owners_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
)

func TestG1OutageOfAGatewayLosesNothing(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 2)
		h.Arrived(2)
		h.GatewayDown()
		h.Say("!r", "@alice:x", 2, 5)
		<-time.After(4 * time.Minute)
		h.Halt()
		h.Say("!r", "@alice:x", 7, 2)
		h.Start()
		<-time.After(4 * time.Minute)
		h.GatewayUp()
		h.CaughtUp()
		h.Say("!r", "@alice:x", 9, 1)
		h.Arrived(10)
		<-time.After(time.Minute)
		if got := h.Delivered("bob"); got != "r-0 r-1 r-2 r-3 r-4 r-5 r-6 r-7 r-8 r-9" {
			t.Errorf("bob got %q", got)
		}
		h.Check("@bob:x", 0, "bob")
	})
}

func TestG1KilledInTheMiddleOfAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@eve:x", "gw.test", "eve-1", "eve-2")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@eve:x")
		h.Say("!r", "@alice:x", 0, 2)
		h.Arrived(6)
		h.GatewayDown()
		for round := range 3 {
			h.Say("!r", "@alice:x", 2+3*round, 2)
			<-time.After(time.Minute)
			h.Kill()
			h.Say("!r", "@alice:x", 4+3*round, 1)
			h.Start()
		}
		h.GatewayUp()
		h.CaughtUp()
		h.Check("@bob:x", 0, "bob")
		h.Check("@eve:x", 0, "eve-1", "eve-2")
		if n := len(h.LogOf("@bob:x")); n != 11 {
			t.Errorf("bob has %d notifications, want 11", n)
		}
	})
}

// Match, deliver and the directory resume after NATS was away.
func TestG1NATSAwayForAMinute(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@eve:x")
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{After: 100 * time.Millisecond}))
		h.Say("!r", "@alice:x", 0, 20)
		<-time.After(300 * time.Millisecond)
		h.Server.Stop()
		<-time.After(time.Minute)
		h.Server.Start()
		eventstest.WaitFor(t, "the connection", h.Conn.Connected)
		<-time.After(2 * time.Second)
		h.Register("@eve:x", "gw.test", "eve")
		h.Say("!r", "@alice:x", 20, 5)
		h.CaughtUp()
		<-time.After(10 * time.Second)
		h.Check("@bob:x", 1, "bob")
		if got := h.Delivered("eve"); got != "r-20 r-21 r-22 r-23 r-24" {
			t.Errorf("eve got %q", got)
		}
		if n := len(h.LogOf("@bob:x")); n != 25 {
			t.Errorf("bob has %d notifications, want 25", n)
		}
	})
}

// A worker that takes over and is killed at once loses nothing: what the previous owner did
// not finish stays unfinished, though later notifications were delivered.
func TestG1KilledRightAfterTakingOver(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		slow, fast := dispatchertest.SamePartition(h.Conn.Topology().Partitions)
		h.Register(slow, "slow.test", "slow")
		h.Register(fast, "gw.test", "fast")
		h.Start()
		h.Room("!r", "@alice:x", slow, fast)
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: time.Minute}
			}
			return eventstest.Reply{}
		})
		h.Say("!r", "@alice:x", 0, 3)
		<-time.After(500 * time.Millisecond)
		h.Kill()
		h.Begin()
		killed := h.Link.Break("$KV.POSITIONS.deliver.", natstest.Kill) // it has taken over a partition
		eventstest.WaitFor(t, "the second kill", killed)
		h.Kill()
		h.GatewayUp()
		h.Start()
		<-time.After(10 * time.Second)
		h.Check(slow, 0, "slow")
		h.Check(fast, 0, "fast")
	})
}

// A record of a lagging pusher that could not be stored is written again, however far away
// the pusher's next try is.
func TestG1BacklogIsStoredInTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"3600"}}}))
		h.Link.Refuse("$KV.BACKLOG.", 3)
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(5 * time.Second)
		if n := h.Backlog(); n != 1 {
			t.Errorf("%d pushers have a record, want 1", n)
		}
	})
}

// Notifications after a failed one are left to the backlog only once the record is stored.
func TestG1KilledWhileTheBacklogCannotBeStored(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.GatewayDown()
		h.Link.Refuse("$KV.BACKLOG.", 100)
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(time.Second)
		h.Say("!r", "@alice:x", 1, 2)
		<-time.After(time.Second)
		h.Kill()
		h.GatewayUp()
		h.Start()
		<-time.After(10 * time.Second)
		if got := h.Delivered("bob"); got != "r-0 r-1 r-2" {
			t.Errorf("bob got %q", got)
		}
	})
}

func TestG2AnsweredPokeIsNotRepeatedAfterAStop(t *testing.T) {
	for _, end := range []struct {
		name string
		stop func(*harness)
	}{
		{"stopped", (*harness).Halt},
		{"killed", (*harness).Kill},
	} {
		t.Run(end.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Register("@bob:x", "gw.test", "bob")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				h.Say("!r", "@alice:x", 0, 5)
				h.Arrived(5)
				<-time.After(100 * time.Millisecond) // until the position is stored
				end.stop(h)
				h.Start()
				h.Say("!r", "@alice:x", 5, 1)
				h.Arrived(6)
				<-time.After(10 * time.Second)
				h.Check("@bob:x", 0, "bob")
			})
		})
	}
}

func TestG2PokeInFlightIsRepeated(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{After: 10 * time.Second}))
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(5 * time.Second)
		h.Kill()
		h.GatewayUp()
		h.Start()
		<-time.After(10 * time.Second)
		if n := len(h.Gateway.Tried()); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
}

// A pusher that was answered is not sent the poke again because another pusher of the same
// user hangs.
func TestG2StopWhileAnotherPusherHangs(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob-phone", "bob-desk")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Pushkey == "bob-desk" {
				return eventstest.Reply{After: time.Hour}
			}
			return eventstest.Reply{}
		})
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(100 * time.Millisecond)
		began := time.Now()
		h.Halt()
		if took := time.Since(began); took > h.Config.StopGrace+time.Second {
			t.Errorf("the stop took %v", took)
		}
		h.GatewayUp()
		h.Start()
		<-time.After(10 * time.Second)
		h.Check("@bob:x", 0, "bob-phone")
		h.Check("@bob:x", 1, "bob-desk")
	})
}

// A kill between a notification and the position of match stores no notification twice.
func TestG2CrashBetweenNotificationAndPosition(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@eve:x", "gw.test", "eve")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@eve:x")
		<-time.After(time.Second)
		h.Link.Refuse("$KV.POSITIONS.match.", 1000)
		h.Say("!r", "@alice:x", 0, 20)
		<-time.After(time.Second)
		h.Kill()
		h.Start()
		h.Say("!r", "@alice:x", 20, 1)
		<-time.After(10 * time.Second)
		for _, user := range []events.UserID{"@bob:x", "@eve:x"} {
			if n := len(h.LogOf(user)); n != 21 {
				t.Errorf("%s has %d notifications, want 21", user, n)
			}
		}
		h.Check("@bob:x", 0, "bob")
	})
}

// While positions cannot be stored, little is delivered: it is repeated after a kill.
func TestG2KilledWhilePositionsCannotBeStored(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		<-time.After(time.Second)
		h.Link.Refuse("$KV.POSITIONS.deliver.", 1000)
		for i := range 100 {
			h.Say("!r", "@alice:x", i, 1)
			<-time.After(100 * time.Millisecond)
		}
		h.Kill()
		h.Start()
		h.Arrived(100)
		<-time.After(time.Minute)
		h.Check("@bob:x", 12, "bob") // what was published within the first second
	})
}

func TestG3OrderAndBadgeWithAnUnreliableGateway(t *testing.T) {
	eventstest.Long(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		dice, pauses := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))
		replies := []eventstest.Reply{
			{}, {}, {}, {After: 3 * time.Second}, {Status: http.StatusInternalServerError}, {Status: http.StatusBadRequest},
			{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"2"}}},
		}
		h.Gateway.Answer(func(eventstest.Poke) eventstest.Reply { return replies[dice.IntN(len(replies))] })
		users := []events.UserID{"@alice:x"}
		for i := range 6 {
			user := events.UserID(fmt.Sprintf("@u%d:x", i))
			users = append(users, user)
			h.Register(user, "gw.test", fmt.Sprintf("u%d-a", i), fmt.Sprintf("u%d-b", i))
		}
		h.Start()
		h.Room("!r", users...)
		for i := range 30 {
			h.Say("!r", "@alice:x", i, 1)
			<-time.After(time.Duration(pauses.IntN(3000)) * time.Millisecond)
		}
		h.GatewayUp()
		<-time.After(poke.SlowLimit) // by chance a pusher may wait long
		h.CaughtUp()
		<-time.After(10 * time.Second)
		for i := range 6 {
			h.Check(users[i+1], 0, fmt.Sprintf("u%d-a", i), fmt.Sprintf("u%d-b", i))
		}
	})
}
