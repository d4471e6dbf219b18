package owners_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
)

// handOff is a point where one process or store hands work to the next.
type handOff struct {
	name    string
	subject string // of the message that is written
}

func handOffs() []handOff {
	return []handOff{
		{"store notification", "log."},
		{"store position of match", "$KV.POSITIONS.match."},
		{"store position of deliver", "$KV.POSITIONS.deliver."},
		{"store backlog", "$KV.BACKLOG."},
		{"store dead letter", "dead."},
		{"publish rejection", "rejected."},
	}
}

// faultTTL is the time to live of pokes in the fault tables.
const faultTTL = 15 * time.Second

// TestFaultTable breaks each hand-off in each way, repairs it, and checks G1, G2 and G3.
func TestFaultTable(t *testing.T) {
	eventstest.Long(t)
	for _, point := range handOffs() {
		for name, fault := range natstest.Faults() {
			t.Run(point.name+"/"+name, func(t *testing.T) {
				bubble(t, func(t *testing.T, h *harness) {
					met := func() bool { return false }
					repeats := 0
					if fault == natstest.Kill {
						repeats = dispatchertest.RepeatsOfKill
					}
					h.Config.PokeTTL = faultTTL
					faultRun(h, repeats, func() func() bool {
						met = h.Link.Break(point.subject, fault)
						return met
					})
					if !met() {
						t.Error("the fault never happened")
					}
				})
			})
		}
	}
}

// TestFaultTablePOST breaks the hand-off of a poke to the gateway.
func TestFaultTablePOST(t *testing.T) {
	eventstest.Long(t)
	for _, fault := range []struct {
		name    string
		reply   eventstest.Reply
		kill    bool
		repeats int
	}{
		{name: "failed", reply: eventstest.Reply{Status: http.StatusInternalServerError}},
		{name: "happened but the answer is lost", reply: eventstest.Reply{HangUp: true}, repeats: 1},
		{name: "happened but the answer is late", reply: eventstest.Reply{After: 80 * time.Second}, repeats: 1},
		{name: "killed while it is in flight", reply: eventstest.Reply{After: time.Second}, kill: true, repeats: dispatchertest.RepeatsOfKill},
		{name: "killed right after", kill: true, repeats: dispatchertest.RepeatsOfKill},
	} {
		t.Run(fault.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				broken := false
				h.Config.PokeTTL = faultTTL + fault.reply.After // a late answer still counts
				faultRun(h, fault.repeats, func() (met func() bool) {
					h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
						if broken || p.Pushkey != "ok-1" {
							return faultGateway(p)
						}
						broken = true
						if fault.kill {
							go h.Link.Cut()
						}
						return fault.reply
					})
					return func() bool { return true } // by the first pokes
				})
				if !broken {
					t.Error("the fault never happened")
				}
			})
		})
	}
}

// faultGateway is the gateway of faultRun when it works: it rejects one pushkey, and does not have the
// subscription of one browser.
func faultGateway(p eventstest.Poke) eventstest.Reply {
	if p.Push != nil && p.Push.Path == "/push/1" {
		return eventstest.Reply{Status: http.StatusGone}
	}
	if p.Pushkey == "refused" {
		return eventstest.Reply{Body: `{"rejected":["refused"]}`}
	}
	return eventstest.Reply{}
}

// faultRun is a minute that contains every hand-off: pokes that arrive, a gateway that fails
// for a while, a poke that expires, a pushkey that is rejected, browsers among them. It arms one fault first, and
// restarts the dispatcher if the fault kills it. met reports whether the fault has happened.
// Each pusher may receive as many repeated pokes as repeats.
func faultRun(h *harness, repeats int, arm func() (met func() bool)) {
	h.T.Helper()
	h.WithVAPID()
	browser, gone := h.Gateway.Browser("gw.test", nil), h.Gateway.Browser("gw.test", nil)
	h.RegisterAll("@ok:x", events.Pusher{Pushkey: "ok-1"}, browser)
	h.Register("@late:x", "gw.test", "late")
	h.Register("@refused:x", "gw.test", "refused")
	h.RegisterAll("@gone:x", gone)
	h.Start()
	h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
		if p.Pushkey == "late" {
			return eventstest.Reply{Status: http.StatusServiceUnavailable}
		}
		return faultGateway(p)
	})
	h.Room("!r", "@alice:x", "@ok:x", "@late:x", "@refused:x", "@gone:x")
	<-time.After(time.Second)
	met := arm()
	h.Say("!r", "@alice:x", 0, 3)
	<-time.After(h.Config.PokeTTL + 30*time.Second) // a probe later, late's pokes have expired
	h.Say("!r", "@alice:x", 3, 3)
	<-time.After(5 * time.Second)
	h.Gateway.Answer(faultGateway)
	h.Revive()
	h.Say("!r", "@alice:x", 6, 1)
	// The fault may happen only at late's next try.
	for began := time.Now(); !met() && time.Since(began) < 2*poke.QuickLimit; {
		<-time.After(time.Second)
	}
	<-time.After(time.Minute)
	h.Revive()
	h.CaughtUp()
	h.Halt()

	h.Check("@ok:x", repeats, "ok-1", browser.Pushkey)
	h.Check("@late:x", repeats, "late")
	if n := h.Backlog(); n != 0 {
		h.T.Errorf("%d pushers still have a record", n)
	}
	if n := len(h.Server.Stored("REJECTED", "rejected.")); n < 2 {
		h.T.Errorf("%d rejections were published, want those of a gateway and of a push service", n)
	}
	said := []events.EventID{"$r-0", "$r-1", "$r-2", "$r-3", "$r-4", "$r-5", "$r-6"}
	for _, user := range []events.UserID{"@ok:x", "@late:x", "@refused:x", "@gone:x"} {
		if log := h.LogOf(user); !slices.Equal(log, said) {
			h.T.Errorf("%s was notified of %v, want all 7 in order", user, log)
		}
	}
	if h.T.Failed() {
		h.T.Log(h.History())
	}
}
