package dispatcher

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/pushgateway"
)

// One host that takes a minute for each answer, with more pushers than it may
// have slots, and one that works: its pokes take no time at all.
func TestG4SlowGatewayDelaysOnlyItself(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
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
				t.Errorf("%s was told %s after %v", p.Pushkey, p.EventID, late)
			}
		}
		if fast != 300 {
			t.Errorf("%d pokes at the gateway that works, want 300", fast)
		}
		if most := h.gateway.MostAtOnce("slow.test"); most > h.cfg.GatewaySlots {
			t.Errorf("the slow gateway held %d slots of its %d", most, h.cfg.GatewaySlots)
		}
	})
}

// The first success at a gateway that was down wakes all who lag there, long
// before their own time has come.
func TestG5RecoveryWakesAllWhoLag(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
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
		<-time.After(20 * time.Minute)
		h.gateway.Answer(up())
		h.calm()
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
			bubble(t, func(t *testing.T, h *house) {
				h.register("@bob:x", "gw.test", "bob-1", "bob-2")
				h.register("@eve:x", "gw.test", "eve")
				h.register("@dan:x", "slow.test", "dan")
				h.start()
				h.room("!r", "@alice:x", "@bob:x", "@eve:x", "@dan:x")
				asked := time.Time{}
				h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
					if p.Pushkey != "bob-1" || !asked.IsZero() {
						return eventstest.Reply{}
					}
					asked = time.Now()
					return eventstest.Reply{Status: ask.status, Header: http.Header{"Retry-After": {ask.retryAfter(asked)}}}
				})
				h.say("!r", "@alice:x", 0, 1)
				<-time.After(time.Second)
				for i := range 5 {
					h.say("!r", "@alice:x", 1+i, 1)
					<-time.After(10 * time.Second)
				}
				h.calm()
				checkPause(t, h, asked, 2*time.Minute)
			})
		})
	}
}

func checkPause(t *testing.T, h *house, asked time.Time, pause time.Duration) {
	t.Helper()
	other := 0
	for _, p := range h.gateway.Tried() {
		since := p.At.Sub(asked)
		switch {
		case p.Host == "slow.test" && since < pause:
			other++
		case p.Host == "gw.test" && since > 0 && since < pause:
			t.Errorf("%s was told %s %v after the gateway asked for %v", p.Pushkey, p.EventID, since, pause)
		}
	}
	if other != 6 {
		t.Errorf("the other gateway got %d pokes meanwhile, want 6", other)
	}
	h.promise("@bob:x", 0, "bob-1", "bob-2")
	h.promise("@eve:x", 0, "eve")
}

// However much fails, a lagging pusher keeps nothing in memory but where it
// stands.
func TestG7LaggingPusherKeepsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
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

func checkBounds(t *testing.T, d *deliverer) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if open := d.follower.Open(); open != 0 {
		t.Errorf("%d notifications are open", open)
	}
	for user, r := range d.people {
		for _, l := range r.lanes {
			if l.lag == nil || len(l.queue)+len(l.record.held)+len(l.record.out) > 0 {
				t.Errorf("%s: lag %v, %d in the queue, %d and %d held", user, l.lag, len(l.queue), len(l.record.held), len(l.record.out))
			}
		}
	}
}

// startInside starts what a dispatcher runs while it leads, with its insides in
// reach.
func (h *house) startInside() *delivery {
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
	var slots, work errgroup.Group
	gates := newGateways(h.cfg.Slots, h.cfg.GatewaySlots, func(slot func()) {
		slots.Go(func() error { slot(); return nil })
	})
	dir := newDirectory(policy, d.log)
	all := newDelivery(d, dir, gates)
	dir.changed = all.pushersChanged
	ctx, cancel := context.WithCancel(h.t.Context())
	loaded := make(chan struct{})
	work.Go(func() error { return d.watch(ctx, dir, loaded) })
	work.Go(func() error { <-loaded; return d.follow(ctx, dir, all) })
	h.t.Cleanup(func() {
		cancel()
		if err := work.Wait(); err != nil {
			h.t.Error(err)
		}
		all.conns.close()
		gates.close()
		_ = slots.Wait()
		<-time.After(time.Minute) // fasthttp's cleaners sleep out their turn
	})
	<-d.Ready()
	return all
}

// No connection is opened to an address that the operator has not allowed: the
// listener is real, and nobody comes.
func TestG8BlockedAddressIsNeverConnectedTo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	came := make(chan struct{})
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_ = conn.Close()
			close(came)
		}
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	guarded := newClient(new(pushgateway.Policy).Dialer(net.Dialer{}), 5*time.Second, 1)
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} {
		guarded.post("http://"+host+":"+port+pushgateway.NotifyPath, []byte("{}"), func(a answer) {
			if out := decide(a, "key", time.Now()); out.kind != outcomeSlow || out.class != "blocked_address" {
				t.Errorf("%s: outcome %v %q (%v), want slow blocked_address", host, out.kind, out.class, a.err)
			}
		})
	}
	select {
	case <-came:
		t.Error("a connection was opened")
	default:
	}
}

// Whatever happens, what must not be seen is not logged, nor told by the name
// of a subject.
func TestG9NothingSecretIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.cfg.PokeTTL = 30 * time.Second
		h.register("@bob:x", "gw.test", "SECRET-rejected")
		h.register("@eve:x", "slow.test", "SECRET-failing")
		h.register("@dan:x", "forbidden.test", "SECRET-forbidden")
		h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "gw.test" {
				return eventstest.Reply{Body: `{"rejected":["SECRET-rejected"],"why":"SECRET-answer"}`}
			}
			return eventstest.Reply{Status: http.StatusBadGateway, Body: "SECRET-answer"}
		})
		h.start()
		h.room("!r", "@alice:x", "@bob:x", "@eve:x", "@dan:x")
		h.publish(`{"event_id":"$s","room_id":"!r","type":"m.room.message","sender":"@alice:x","content":{"body":"SECRET-body"}}`)
		here := "room." + events.Token("!r") + ".event"
		h.server.Publish(here, `{"SECRET-key`)
		h.server.Publish(here, `{"event_id":"$t","room_id":"!r","type":17,"sender":"@alice:x","content":{"body":"SECRET-body"}}`)
		h.server.Publish("notify.0."+events.Token("@bob:x")+"."+events.Token("!r"), `{"tweaks":"SECRET-tweak"}`)
		h.server.Publish("$KV.PUSHERS.0."+events.Token("@ann:x"), `{"user_id":"@ann:x","pushers":[{"pushkey":{"SECRET-pushkey":1}}]}`)
		h.server.Publish("$KV.PUSHERS.0."+events.Token("@amy:x"), `{"user_id":"@amy:x","pushers":[{"pushkey":"SECRET-pushkey","data":"SECRET-data"}]}`)
		<-time.After(3 * time.Minute)
		h.halt()
		log := h.log.String()
		if strings.Contains(log, "SECRET") {
			t.Errorf("the log tells a secret: %s", log)
		}
		for _, word := range []string{"rejected", "expired", "http_502", "refused_url", "unreadable room event skipped", "unreadable pushers"} {
			if !strings.Contains(log, word) {
				t.Errorf("the story has no %s in it, so it proves nothing of that", word)
			}
		}
		for _, stream := range []string{"NOTIFICATIONS", "REJECTED", "DEAD", "KV_BACKLOG"} {
			for _, msg := range h.server.Stored(stream, "") {
				if strings.Contains(msg.Subject, "SECRET") {
					t.Errorf("a subject tells a secret: %s", msg.Subject)
				}
			}
		}
	})
}
