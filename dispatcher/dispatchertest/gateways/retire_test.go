package gateways_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/trace"
	"poked/events"
	"poked/events/eventstest"
)

// retirement is a dispatcher that retires pushers after four hours. The gateway gw.test, of bob, is gone,
// and slow.test, of carol, works.
type retirement struct {
	*harness

	said int
	down map[string]bool
}

func forRetirement(t *testing.T, test func(t *testing.T, r *retirement)) {
	t.Helper()
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Server.Pulse = time.Minute // it takes half a day
		h.Topology.TraceFor, h.Topology.TraceBytes = 24*time.Hour, 64<<20
		h.Config.RetireAfter = 4 * time.Hour
		h.Register("@bob:x", "gw.test", "bob", "too")
		h.Register("@carol:x", "slow.test", "carol")
		r := &retirement{harness: h, down: map[string]bool{"gw.test": true}}
		r.answer()
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@carol:x")
		test(t, r)
	})
}

// answer changes how the gateways answer.
func (r *retirement) answer() {
	down := map[string]bool{}
	for host, is := range r.down {
		down[host] = is
	}
	r.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply { return eventstest.Reply{HangUp: down[p.Host]} })
}

// spend lets time pass, with a message every ten minutes.
func (r *retirement) spend(d time.Duration) {
	r.T.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); <-time.After(10 * time.Minute) {
		r.Say("!r", "@alice:x", r.said, 1)
		r.said++
	}
}

// retired fails unless so many pushers were retired.
func (r *retirement) retired(want int) {
	r.T.Helper()
	stored := r.Server.Stored("REJECTED", "")
	for _, m := range stored {
		if text := string(m.Data); !strings.Contains(text, `"reason":"gone"`) || !strings.Contains(text, `"gateway":"http://gw.test:80"`) {
			r.T.Errorf("a rejection is %s", text)
		}
	}
	if len(stored) != want {
		r.T.Errorf("%d pushers were retired, want %d", len(stored), want)
	}
}

// The pushers of a gateway that is gone for long are retired, with a reason, and no others. A trace
// tells why the phone did not ring.
func TestRetireAfter(t *testing.T) {
	forRetirement(t, func(t *testing.T, r *retirement) {
		r.spend(3*time.Hour + 45*time.Minute)
		r.retired(0)
		r.spend(time.Hour)
		r.retired(2)
		traced, err := trace.Run(t.Context(), r.Conn, trace.Query{Event: "$r-0", User: "@bob:x"})
		if err != nil || len(traced.Users) != 1 || len(traced.Users[0].Pushers) != 2 {
			t.Fatalf("traced %+v, %v", traced, err)
		}
		if late, err := trace.Run(t.Context(), r.Conn, trace.Query{Event: events.EventID(fmt.Sprintf("$r-%d", r.said-1)), User: "@bob:x"}); err != nil {
			t.Error(err)
		} else if said := late.Users[0].Pushers[0].Because(late, &late.Users[0], time.Now()); !strings.Contains(said, "--retire-after") {
			t.Errorf("of the newest message the trace tells: %s", said)
		}
		for i := range traced.Users[0].Pushers {
			p := &traced.Users[0].Pushers[i]
			if said := p.Because(traced, &traced.Users[0], time.Now()); p.Fate != trace.FateRetired || !strings.Contains(said, "--retire-after") {
				t.Errorf("the trace tells %s: %s", p.Fate, said)
			}
		}
	})
}

// A gateway that takes one poke, or a pusher that its client has set again, begins anew.
func TestRetireAfterBeginsAnew(t *testing.T) {
	eventstest.Long(t)
	forRetirement(t, func(_ *testing.T, r *retirement) {
		r.spend(3 * time.Hour)
		r.down["gw.test"] = false
		r.answer()
		r.spend(20 * time.Minute)
		r.down["gw.test"] = true
		r.answer()
		r.Version = time.Now().Unix()
		r.Register("@dave:x", "gw.test", "new")
		r.Room("!r", "@alice:x", "@bob:x", "@carol:x", "@dave:x")
		r.spend(3 * time.Hour)
		r.retired(0)
		r.Version = time.Now().Unix()
		r.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob"}) // again, and without the other
		r.spend(2*time.Hour + 30*time.Minute)
		r.retired(1)
	})
}

// If all gateways are gone, it is our own network, and that time does not count later either.
func TestRetireAfterIsNotForOurOwnFault(t *testing.T) {
	eventstest.Long(t)
	forRetirement(t, func(_ *testing.T, r *retirement) {
		r.spend(3 * time.Hour)
		r.down["slow.test"] = true
		r.answer()
		r.spend(3 * time.Hour)
		r.retired(0)
		r.down["slow.test"] = false
		r.answer()
		r.spend(30 * time.Minute)
		r.retired(0)
		r.spend(time.Hour)
		r.retired(2)
	})
}

// What was counted outlasts the dispatcher, and the time in which none runs does not count.
func TestRetireAfterARestart(t *testing.T) {
	eventstest.Long(t)
	forRetirement(t, func(_ *testing.T, r *retirement) {
		r.spend(2 * time.Hour)
		r.Halt()
		<-time.After(6 * time.Hour)
		r.Start()
		r.spend(time.Hour + 15*time.Minute)
		r.retired(0)
		r.spend(90 * time.Minute)
		r.retired(2)
	})
}
