package dispatcher

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/deliver"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/pushgateway"
)

// A host that takes a minute for each answer has more pushers than slots. Pokes to another
// host take no time at all.
func TestG4SlowGatewayDelaysOnlyItself(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		users := []events.UserID{"@alice:x"}
		for i := range 40 {
			user := events.UserID(fmt.Sprintf("@slow%d:x", i))
			users = append(users, user)
			h.register(user, "slow.test", fmt.Sprintf("slow%d", i))
		}
		for i := range 10 {
			user := events.UserID(fmt.Sprintf("@fast%d:x", i))
			users = append(users, user)
			h.register(user, "gw.test", fmt.Sprintf("fast%d", i))
		}
		h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: time.Minute}
			}
			return eventstest.Reply{}
		})
		h.start()
		h.room("!r", users...)
		said := map[string]time.Time{}
		for i := range 30 {
			said[fmt.Sprintf("$r-%d", i)] = time.Now()
			h.say("!r", "@alice:x", i, 1)
			<-time.After(time.Second)
		}
		fast := 0
		for _, p := range h.gateway.Pokes() {
			if p.Host != "gw.test" {
				continue
			}
			fast++
			if late := p.At.Sub(said[string(p.EventID)]); late > 10*time.Millisecond {
				t.Errorf("%s got %s after %v", p.Pushkey, p.EventID, late)
			}
		}
		if fast != 300 {
			t.Errorf("%d pokes at the gateway that works, want 300", fast)
		}
		if most := h.gateway.MostAtOnce("slow.test"); most > h.cfg.GatewaySlots {
			t.Errorf("the slow gateway had %d pokes in flight, its limit is %d", most, h.cfg.GatewaySlots)
		}
	})
}

// One pusher that hangs does not fill the window of its partition, however many
// notifications it has.
func TestG4HangingPusherDoesNotHoldUpItsPartition(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		slow, fast := samePartition(h.conn.Partitions())
		h.register(slow, "slow.test", "slow-1", "slow-2")
		h.register(fast, "gw.test", "fast")
		h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: time.Minute}
			}
			return eventstest.Reply{}
		})
		h.start()
		h.room("!r", "@alice:x", slow, fast)
		for i := range 12 {
			h.say("!r", "@alice:x", 100*i, 100)
			<-time.After(2 * time.Second)
			if n := strings.Count(delivered(h.gateway.Pokes(), "fast"), "r-"); n != 100*(i+1) {
				t.Fatalf("%d of %d pokes have arrived at the gateway that works", n, 100*(i+1))
			}
		}
	})
}

// samePartition returns two users of one partition.
func samePartition(partitions int) (one, other events.UserID) {
	one = "@one:x"
	for i := 0; ; i++ {
		other = events.UserID(fmt.Sprintf("@other%d:x", i))
		if events.PartitionOf(events.Token(one), partitions) == events.PartitionOf(events.Token(other), partitions) {
			return one, other
		}
	}
}

// The first success at a gateway that was down wakes all pushers that lag there, long before
// their own next try.
func TestG5RecoveryWakesAllLaggingPushers(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		users := []events.UserID{"@alice:x"}
		for i := range 30 {
			user := events.UserID(fmt.Sprintf("@u%d:x", i))
			users = append(users, user)
			h.register(user, "gw.test", fmt.Sprintf("u%d", i))
		}
		h.gateway.Answer(down())
		h.start()
		h.room("!r", users...)
		h.say("!r", "@alice:x", 0, 3)
		<-time.After(6 * time.Minute)
		h.gateway.Answer(up())
		h.caughtUp()
		pokes := h.gateway.Pokes()
		if took := pokes[len(pokes)-1].At.Sub(pokes[0].At); len(pokes) != 90 || took > time.Second {
			t.Errorf("%d pokes within %v, want 90 within a second", len(pokes), took)
		}
		if most := h.gateway.MostAtOnce("gw.test"); most > h.cfg.GatewaySlots {
			t.Errorf("the gateway got %d pokes at once, its limit is %d", most, h.cfg.GatewaySlots)
		}
	})
}

func TestG6RetryAfterPausesTheWholeGateway(t *testing.T) {
	for _, ask := range []struct {
		name       string
		status     int
		retryAfter func(now time.Time) string
	}{
		{"429 with seconds", http.StatusTooManyRequests, func(time.Time) string { return "120" }},
		{"503 with a date", http.StatusServiceUnavailable, func(now time.Time) string {
			return now.Add(2 * time.Minute).UTC().Format(http.TimeFormat)
		}},
	} {
		t.Run(ask.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.register("@bob:x", "gw.test", "bob-1", "bob-2")
				h.register("@eve:x", "gw.test", "eve")
				h.register("@dan:x", "slow.test", "dan")
				h.start()
				h.room("!r", "@alice:x", "@bob:x", "@eve:x", "@dan:x")
				asked := false
				h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
					if p.Pushkey != "bob-1" || asked {
						return eventstest.Reply{}
					}
					asked = true
					return eventstest.Reply{Status: ask.status, Header: http.Header{"Retry-After": {ask.retryAfter(p.At)}}}
				})
				h.say("!r", "@alice:x", 0, 1)
				<-time.After(time.Second)
				for i := range 5 {
					h.say("!r", "@alice:x", 1+i, 1)
					<-time.After(10 * time.Second)
				}
				h.caughtUp()
				checkPause(t, h, 2*time.Minute)
			})
		})
	}
}

func checkPause(t *testing.T, h *harness, pause time.Duration) {
	t.Helper()
	tried := h.gateway.Tried()
	asked := tried[slices.IndexFunc(tried, func(p eventstest.Poke) bool { return p.Status >= 400 })].At
	other := 0
	for _, p := range tried {
		since := p.At.Sub(asked)
		switch {
		case p.Host == "slow.test" && since < pause:
			other++
		case p.Host == "gw.test" && since > 0 && since < pause:
			t.Errorf("%s got %s %v after the gateway asked for %v", p.Pushkey, p.EventID, since, pause)
		}
	}
	if other != 6 {
		t.Errorf("the other gateway got %d pokes meanwhile, want 6", other)
	}
	h.check("@bob:x", 0, "bob-1", "bob-2")
	h.check("@eve:x", 0, "eve")
}

// However many pokes fail, a lagging pusher keeps only its position in memory.
func TestG7LaggingPusherKeepsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.register("@bob:x", "gw.test", "bob-1", "bob-2")
		h.gateway.Answer(down())
		work := h.startInside()
		h.room("!r", "@alice:x", "@bob:x")
		for i := range 20 {
			h.say("!r", "@alice:x", 100*i, 100)
			<-time.After(10 * time.Second)
			for _, d := range work.byPart {
				checkBounds(t, d)
			}
		}
		if n := len(h.logOf("@bob:x")); n != 2000 {
			t.Errorf("bob has %d notifications, want 2000", n)
		}
	})
}

func checkBounds(t *testing.T, d *deliver.Deliverer) {
	t.Helper()
	if h := d.Holds(); h.Open+h.Live+h.Queued+h.Held > 0 {
		t.Errorf("%+v, but every pusher lags", h)
	}
}

// startInside starts a dispatcher that is alone and returns its internals.
func (h *harness) startInside() *delivery {
	h.t.Helper()
	policy, err := pushgateway.NewPolicy([]string{"gw.test"}, nil, true)
	if err != nil {
		h.t.Fatal(err)
	}
	d, err := New(h.cfg, policy, h.conn, slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Fatal(err)
	}
	d.dial = h.gateway.Dial
	all := d.open(nil)
	ctx, cancel := context.WithCancel(h.t.Context())
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		d.work(ctx, all, d.group.OwnAll)
	}()
	h.t.Cleanup(func() {
		cancel()
		<-worked
		all.close()
	})
	<-d.Ready()
	return all
}
