package dispatcher_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/pushrule"
)

// quietPhone has rules by which only cake notifies the phone.
func quietPhone() events.UserPushRules {
	return events.UserPushRules{Devices: map[string]pushrule.Ruleset{"phone": {
		Content:   eventstest.Keyword("cake").Content,
		Underride: []pushrule.Rule{{ID: "quiet", Enabled: true}},
	}}}
}

// loudPhone has rules by which cake notifies the phone in a room that is muted otherwise.
func loudPhone() events.UserPushRules {
	return events.UserPushRules{
		Changes: muted("!r"),
		Devices: map[string]pushrule.Ruleset{"phone": {Content: eventstest.Keyword("cake").Content}},
	}
}

// registerDevices registers bob's phone and desktop, each with a handle, and an old device
// without one.
func (h *harness) registerDevices() {
	h.T.Helper()
	h.RegisterAll("@bob:x",
		events.Pusher{Pushkey: "phone", InstanceHandle: "phone"},
		events.Pusher{Pushkey: "desk", InstanceHandle: "desk"},
		events.Pusher{Pushkey: "old"})
}

// A device's own rules decide for it, the user's rules for the others. A pusher that lags
// gets the same.
func TestDevicesHaveRulesOfTheirOwn(t *testing.T) {
	const (
		loud    = `{"sound":"ping","highlight":true}`
		mention = `{"sound":"default","highlight":true}`
	)
	for name, tc := range map[string]struct {
		rules       events.UserPushRules
		phone, desk string
		stored      int
	}{
		"a quiet phone": {quietPhone(), "cake high " + loud + ", more high " + loud, "cake low, plain low, named high " + mention + ", more low", 4},
		"a loud phone":  {loudPhone(), "cake high " + loud + ", named high " + mention + ", more high " + loud, "named high " + mention, 3},
	} {
		for _, lags := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, lagging %t", name, lags), func(t *testing.T) {
				bubble(t, func(t *testing.T, h *harness) {
					h.registerDevices()
					h.RegisterAll("@carol:x", events.Pusher{Pushkey: "carol", InstanceHandle: "phone"})
					h.Rules("@bob:x", tc.rules)
					h.Start()
					h.Room("!r", "@alice:x", "@bob:x", "@carol:x")
					if lags {
						h.GatewayDown()
					}
					h.sayText("@alice:x", "cake", "there is cake")
					h.sayText("@alice:x", "plain", "hello")
					h.sayText("@alice:x", "named", "hello you", "@bob:x")
					h.sayText("@alice:x", "more", "more cake")
					<-time.After(time.Minute)
					h.GatewayUp()
					h.CaughtUp()
					<-time.After(time.Second)
					pokes := h.Gateway.Pokes()
					if got := summaries(t, pokes, "phone"); got != tc.phone {
						t.Errorf("the phone got %q, want %q", got, tc.phone)
					}
					for _, key := range []string{"desk", "old"} {
						if got := summaries(t, pokes, key); got != tc.desk {
							t.Errorf("%s got %q, want %q", key, got, tc.desk)
						}
					}
					if got := dispatchertest.Delivered(pokes, "carol"); got != "cake plain named more" {
						t.Errorf("carol, without such rules, got %q", got)
					}
					if n := len(h.LogOf("@bob:x")); n != tc.stored {
						t.Errorf("%d notifications stored, want %d", n, tc.stored)
					}
				})
			})
		}
	}
}

// Rules of a device without a pusher decide nothing, and no notification is stored that no
// pusher would receive.
func TestDeviceRulesWithoutThatDevice(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Rules("@bob:x", loudPhone())
		h.Rules("@carol:x", quietPhone())
		h.RegisterAll("@bob:x", events.Pusher{Pushkey: "desk", InstanceHandle: "desk"},
			events.Pusher{Pushkey: "phone", InstanceHandle: "phone", Disabled: true})
		h.RegisterAll("@carol:x", events.Pusher{Pushkey: "carol", InstanceHandle: "phone"})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@carol:x")
		h.sayText("@alice:x", "plain", "hello")
		h.sayText("@alice:x", "cake", "there is cake")
		h.Arrived(1)
		<-time.After(time.Second)
		if got := h.Delivered("carol"); got != "cake" {
			t.Errorf("carol got %q", got)
		}
		if n := h.Dispatcher.Stats(); n.Notifications != 1 || n.Delivered != 1 {
			t.Errorf("stats are %+v, want one notification, for carol", n)
		}
	})
}

// Whatever fails while notifications are stored, each user has each of them once, as their
// rules decided.
func TestMatchedAgainDecidesTheSame(t *testing.T) {
	for name, fault := range natstest.Faults() {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.registerDevices()
				h.Rules("@bob:x", loudPhone())
				users := []events.UserID{"@alice:x", "@bob:x"}
				for i := range 20 {
					user := events.UserID(fmt.Sprintf("@%02d:x", i))
					users = append(users, user)
					h.Register(user, "gw.test", string(user))
				}
				h.Rules("@07:x", events.UserPushRules{Changes: eventstest.Keyword("cake")})
				h.Rules("@08:x", events.UserPushRules{Changes: dispatchertest.Master()})
				h.Start()
				h.Room("!r", users...)
				met := h.Link.Break(events.LogSubject(h.Conn.Topology().PartOf("@05:x")), fault)
				h.sayText("@alice:x", "cake", "there is cake")
				eventstest.WaitFor(t, "the fault", met)
				if fault == natstest.Kill {
					h.Kill()
					h.Start()
				}
				h.sayText("@alice:x", "more", "and more cake")
				<-time.After(30 * time.Second)
				h.CaughtUp()
				for _, user := range users[1:] {
					want := "[$cake $more]"
					if user == "@08:x" {
						want = "[]"
					}
					got := h.LogOf(user)
					slices.Sort(got) // an event that is matched again is stored after newer ones
					if fmt.Sprint(got) != want {
						t.Errorf("%s has %s, want %s", user, got, want)
					}
				}
				for _, n := range h.storedOf("@bob:x") {
					if !n.Silent || n.RuleID != "cake" || !n.Highlight || len(n.Devices) != 1 || !n.Devices["phone"].Notify {
						t.Errorf("bob's notification is %+v", n)
					}
				}
				if got := summaries(t, h.Gateway.Pokes(), "@07:x"); !strings.Contains(got, `more high {"sound":"ping","highlight":true}`) {
					t.Errorf("07 got %q", got)
				}
			})
		})
	}
}

// storedOf returns the notifications of a user as they are stored.
func (h *harness) storedOf(user events.UserID) (all []events.Notification) {
	for _, stored := range h.Server.Stored("NOTIFICATIONS", "log.") {
		m, err := events.ParseLog(stored.Data)
		if err != nil {
			h.T.Fatal(err)
		}
		for i := 0; m.Notify != nil && i < len(m.Notify.Users); i++ {
			if to := m.Notify.Users[i]; to.UserID == user {
				all = append(all, m.Notify.For(to.Decision))
			}
		}
	}
	return all
}

// A badge is sent some time after what changed the count, and another notification may be
// sent in between. If the badge fails, or waits at a stop, that one is not sent again (G2).
func TestG2LateBadgeRepeatsNothing(t *testing.T) {
	eventstest.Long(t)
	for name, next := range map[string]func(*harness){
		"one more notification":   func(h *harness) { h.sayText("@alice:x", "third", "cake") },
		"a stop in order":         func(h *harness) { h.Halt(); h.Start() },
		"a death once it is away": func(h *harness) { h.Kill(); h.Start() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.registerDevices()
				h.Rules("@bob:x", quietPhone())
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				h.sayText("@alice:x", "first", "cake")
				h.Arrived(3)
				h.Receipt("!r", "@bob:x", "m.read", "$first", "")
				h.sayText("@alice:x", "second", "cake")
				h.Arrived(6)
				h.sayText("@alice:x", "plain", "counts, but does not notify the phone")
				h.Arrived(8)
				h.GatewayDown()
				<-time.After(2 * time.Second)
				next(h)
				<-time.After(2 * time.Second)
				h.GatewayUp()
				h.CaughtUp()
				<-time.After(time.Second)
				if n := strings.Count(h.Delivered("phone"), "second"); n != 1 {
					t.Errorf("the second was sent %d times: %s", n, h.History())
				}
			})
		})
	}
}
