package gateways_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"poked/dispatcher/deliver"
	"poked/events"
	"poked/events/eventstest"
)

// onTime checks that every poke to another host than this one arrived within limit of its
// event, and returns how many there were.
func onTime(t *testing.T, h *harness, said map[string]time.Time, host string, limit time.Duration) (n int) {
	t.Helper()
	for _, p := range h.Gateway.Pokes() {
		if p.Host == host {
			continue
		}
		n++
		if late := p.At.Sub(said[string(p.EventID)]); late > limit {
			t.Errorf("%s got %s after %v", p.Pushkey, p.EventID, late)
		}
	}
	return n
}

// sayEach publishes n messages, one a second, and returns when it published each.
func (h *harness) sayEach(room events.RoomID, first, n int) map[string]time.Time {
	h.T.Helper()
	said := map[string]time.Time{}
	for i := first; i < first+n; i++ {
		said[fmt.Sprintf("$%s-%d", strings.Trim(string(room), "!"), i)] = time.Now()
		h.Say(room, "@alice:x", i, 1)
		<-time.After(time.Second)
	}
	return said
}

// One of many gateways never answers. Pokes to the others take no time.
func TestG4OneOfManyGatewaysHangs(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		users := append([]events.UserID{"@alice:x"}, h.RegisterMany(30, "slow.test", "slow")...)
		for i := range 40 {
			host := fmt.Sprintf("gw%d.test", i)
			h.Hosts = append(h.Hosts, host)
			users = append(users, h.RegisterMany(2, host, fmt.Sprintf("gw%d-", i))...)
		}
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: time.Hour}
			}
			return eventstest.Reply{}
		})
		h.Start()
		h.Room("!r", users...)
		said := h.sayEach("!r", 0, 20)
		if n := onTime(t, h, said, "slow.test", 10*time.Millisecond); n != 40*2*20 {
			t.Errorf("%d pokes at the gateways that work, want %d", n, 40*2*20)
		}
	})
}

// A slow gateway with more pokes than it can take does not fill the windows that others
// need too.
func TestG4SaturatedGatewayDelaysOnlyItself(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		slow := append([]events.UserID{"@alice:x"}, h.RegisterMany(1500, "slow.test", "slow")...)
		fast := append([]events.UserID{"@alice:x"}, h.RegisterMany(10, "gw.test", "fast")...)
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: 700 * time.Millisecond}
			}
			return eventstest.Reply{}
		})
		h.Start()
		h.Room("!slow", slow...)
		h.Room("!fast", fast...)
		said := map[string]time.Time{}
		for i := range 40 {
			if i%10 == 0 {
				h.Say("!slow", "@alice:x", i/10, 1)
			}
			<-time.After(50 * time.Millisecond) // until the windows are full
			said[fmt.Sprintf("$fast-%d", i)] = time.Now()
			h.Say("!fast", "@alice:x", i, 1)
		}
		<-time.After(time.Second)
		if n := onTime(t, h, said, "slow.test", 100*time.Millisecond); n != 400 {
			t.Errorf("%d pokes at the fast gateway, want 400", n)
		}
		if most := h.Gateway.MostAtOnce("slow.test"); most > h.Config.GatewaySlots {
			t.Errorf("the slow gateway got %d pokes at once, its limit is %d", most, h.Config.GatewaySlots)
		}
	})
}

// A pusher whose own pokes always fail affects no other pusher at a gateway that accepts
// theirs, however few those are. It is not tried all the time either.
func TestG4PusherThatAlwaysFailsOpensNoBreaker(t *testing.T) {
	eventstest.Long(t)
	for _, tc := range []struct {
		bad   int
		every time.Duration
		after time.Duration // from when on the others are on time
		whole time.Duration
	}{
		{bad: 1, every: 7 * time.Second, whole: 10 * time.Minute},
		{bad: 1, every: 5 * time.Minute, whole: 30 * time.Minute},
		{bad: 12, every: 7 * time.Second, after: 3 * time.Minute, whole: 10 * time.Minute},
		{bad: 12, every: 5 * time.Minute, after: 6 * time.Minute, whole: 30 * time.Minute},
	} {
		t.Run(fmt.Sprintf("%d every %v", tc.bad, tc.every), func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.SpanHours()
				bad := append([]events.UserID{"@alice:x"}, h.RegisterMany(tc.bad, "gw.test", "bad")...)
				good := append([]events.UserID{"@alice:x"}, h.RegisterMany(5, "gw.test", "good")...)
				h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
					if strings.HasPrefix(p.Pushkey, "bad") {
						return eventstest.Reply{Status: http.StatusInternalServerError}
					}
					return eventstest.Reply{}
				})
				h.Start()
				h.Room("!bad", bad...)
				h.Room("!good", good...)
				h.Say("!bad", "@alice:x", 0, 1)
				<-time.After(time.Minute)
				said, began := map[string]time.Time{}, time.Now()
				for i := 0; time.Since(began) < tc.whole; i++ {
					said[fmt.Sprintf("$good-%d", i)] = time.Now()
					h.Say("!good", "@alice:x", i, 1)
					h.Say("!bad", "@alice:x", i+1, 1)
					<-time.After(tc.every)
				}
				for i, p := range h.Gateway.Pokes() {
					if late := p.At.Sub(said[string(p.EventID)]); late > 10*time.Millisecond && p.At.Sub(began) > tc.after {
						t.Fatalf("poke %d: %s got %s after %v", i, p.Pushkey, p.EventID, late)
					}
				}
				tries := (len(h.Gateway.Tried()) - len(h.Gateway.Pokes())) / tc.bad
				if t.Logf("%d tries for each pusher that fails", tries); tries > 80 { // jitter: 47 on average, 38 to 62 were seen
					t.Errorf("%d tries in %v", tries, tc.whole)
				}
			})
		})
	}
}

// Forty gateways were down for an hour, and each has its probe at another time, half a minute
// apart at most. The first one that works again tells of the others: they are probed within
// moments. A gateway that was down before, and stays so, gets no more probes for it.
func TestG5OneGatewayThatIsBackTellsOfTheOthers(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		users := []events.UserID{"@alice:x", "@dead:x"}
		h.Hosts = append(h.Hosts, "dead.test")
		h.Register("@dead:x", "dead.test", "dead")
		const gateways = 40
		for i := range gateways {
			host := fmt.Sprintf("gw%d.test", i)
			h.Hosts = append(h.Hosts, host)
			users = append(users, h.RegisterMany(recoveryFailures, host, fmt.Sprintf("gw%d-", i))...)
		}
		var down atomic.Bool
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "dead.test" || down.Load() {
				return eventstest.Reply{Status: http.StatusServiceUnavailable}
			}
			return eventstest.Reply{}
		})
		h.Start()
		h.Room("!r", users...)
		for i := range recoveryFailures { // so that the dead one is down
			h.Say("!r", "@alice:x", i, 1)
			<-time.After(time.Minute)
		}
		down.Store(true)
		h.Say("!r", "@alice:x", recoveryFailures, 1)
		<-time.After(time.Hour)
		tried := len(h.Gateway.Tried())
		down.Store(false)
		<-time.After(time.Minute)
		first, dead := map[string]time.Time{}, 0
		var earliest, latest time.Time
		for _, p := range h.Gateway.Tried()[tried:] {
			if p.Host == "dead.test" {
				dead++
				continue
			}
			if first[p.Host].IsZero() {
				first[p.Host], latest = p.At, p.At
			}
			if earliest.IsZero() {
				earliest = p.At
			}
		}
		if spread := latest.Sub(earliest); len(first) != gateways || spread > 2*time.Second {
			t.Errorf("%d of %d gateways were probed within %v of the first", len(first), gateways, spread)
		}
		if most := 2*int(time.Minute/(deliver.ProbeLimit/2)) + 1; dead > most {
			t.Errorf("the gateway that stays down was probed %d times in a minute, want %d at most", dead, most)
		}
	})
}

// recoveryFailures is after how many failures a gateway counts as down.
const recoveryFailures = 3
