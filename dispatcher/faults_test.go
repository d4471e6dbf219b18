package dispatcher

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/eventstest"
)

// handOff is a point of the walk where work goes from one place that keeps it
// to the next, and the subject under which NATS sees it pass.
type handOff struct {
	name    string
	subject string // of the message; empty for the POST
}

func handOffs() []handOff {
	return []handOff{
		{"store notification", "notify."},
		{"store position of match", "$KV.POSITIONS.match."},
		{"store position of deliver", "$KV.POSITIONS.deliver."},
		{"store backlog", "$KV.BACKLOG."},
		{"store dead letter", "dead."},
		{"publish rejection", "rejected."},
	}
}

// storyTTL is how long a poke may take in these stories.
const storyTTL = 15 * time.Second

// whileDying is how many pokes of a burst may have been answered in the moment
// before a death, too late to be written down.
const whileDying = 3

// TestFaultTable breaks each hand-off in each way, heals, and checks what was
// promised (G1, G2, G3).
func TestFaultTable(t *testing.T) {
	eventstest.Long(t)
	for _, point := range handOffs() {
		for name, fault := range eventstest.Faults() {
			t.Run(point.name+"/"+name, func(t *testing.T) {
				bubble(t, func(t *testing.T, h *house) {
					met := func() bool { return false }
					repeats := 0
					if fault == eventstest.Kill {
						repeats = whileDying
					}
					h.cfg.PokeTTL = storyTTL
					faultStory(h, repeats, func() { met = h.link.Break(point.subject, fault) })
					if !met() {
						t.Error("the fault was never met")
					}
				})
			})
		}
	}
}

// TestFaultTablePOST breaks the hand-off to the gateway.
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
		{name: "killed while it is out", reply: eventstest.Reply{After: time.Second}, kill: true, repeats: whileDying},
		{name: "killed right after", kill: true, repeats: whileDying},
	} {
		t.Run(fault.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *house) {
				broken := false
				h.cfg.PokeTTL = storyTTL + fault.reply.After // a late answer is still one
				faultStory(h, fault.repeats, func() {
					h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
						if broken || p.Pushkey != "ok-1" {
							return storyGateway(p)
						}
						broken = true
						if fault.kill {
							go h.link.Cut()
						}
						return fault.reply
					})
				})
				if !broken {
					t.Error("the fault was never met")
				}
			})
		})
	}
}

// storyGateway is the gateway of faultStory when it is well: it refuses one
// pushkey.
func storyGateway(p eventstest.Poke) eventstest.Reply {
	if p.Pushkey == "refused" {
		return eventstest.Reply{Body: `{"rejected":["refused"]}`}
	}
	return eventstest.Reply{}
}

// faultStory is a minute with everything in it that is handed on: pokes that
// arrive, a gateway that fails for a while, a poke that expires, a pushkey that
// is refused. One fault is armed before it begins; whoever was killed by it is
// started again. Each pusher may be told something again as often as repeats.
func faultStory(h *house, repeats int, arm func()) {
	h.t.Helper()
	h.register("@ok:x", "gw.test", "ok-1", "ok-2")
	h.register("@late:x", "gw.test", "late")
	h.register("@refused:x", "gw.test", "refused")
	h.start()
	h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
		if p.Pushkey == "late" {
			return eventstest.Reply{Status: http.StatusServiceUnavailable}
		}
		return storyGateway(p)
	})
	h.room("!r", "@alice:x", "@ok:x", "@late:x", "@refused:x")
	<-time.After(time.Second)
	arm()
	h.say("!r", "@alice:x", 0, 3)
	<-time.After(h.cfg.PokeTTL + 30*time.Second) // a probe later, what late was to be told has expired
	h.say("!r", "@alice:x", 3, 3)
	<-time.After(5 * time.Second)
	h.gateway.Answer(storyGateway)
	h.revive()
	h.say("!r", "@alice:x", 6, 1)
	<-time.After(2 * poke.QuickLimit) // the fault may be met only when late is tried again
	h.revive()
	h.calm()
	h.halt()

	h.promise("@ok:x", repeats, "ok-1", "ok-2")
	h.promise("@late:x", repeats, "late")
	if n := h.backlog(); n != 0 {
		h.t.Errorf("%d pushers are still written down as lagging", n)
	}
	if n := len(h.server.Stored("REJECTED", "rejected.")); n == 0 {
		h.t.Error("the registry never heard of the refused pushkey")
	}
	said := []events.EventID{"$r-0", "$r-1", "$r-2", "$r-3", "$r-4", "$r-5", "$r-6"}
	for _, user := range []events.UserID{"@ok:x", "@late:x", "@refused:x"} {
		if log := h.logOf(user); !slices.Equal(log, said) {
			h.t.Errorf("%s was notified of %v, want all 7 as they were said", user, log)
		}
	}
	if h.t.Failed() {
		h.t.Log(h.history())
	}
}

// revive starts the dispatcher again if it was killed.
func (h *house) revive() {
	h.t.Helper()
	if !h.link.Dead() {
		return
	}
	h.kill()
	h.start()
}
