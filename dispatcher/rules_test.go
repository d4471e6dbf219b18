package dispatcher_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/pushrule"
)

// muted is a room rule by which only mentions notify.
func muted(room string) pushrule.Changes {
	return pushrule.Changes{Room: []pushrule.Rule{{ID: room, Enabled: true}}}
}

func published(t *testing.T, rules string) *pushrule.Ruleset {
	t.Helper()
	set := &pushrule.Ruleset{}
	if err := json.Unmarshal([]byte(rules), set); err != nil {
		t.Fatal(err)
	}
	return set
}

// sayText publishes a message with a body, and with m.mentions of these users if
// there are any.
func (h *harness) sayText(sender events.UserID, id, body string, mentions ...string) {
	h.T.Helper()
	content := map[string]any{"msgtype": "m.text", "body": body}
	if mentions != nil {
		content["m.mentions"] = map[string]any{"user_ids": mentions}
	}
	raw, err := json.Marshal(map[string]any{
		"event_id": "$" + id, "room_id": "!r", "type": "m.room.message", "sender": sender, "content": content,
	})
	if err != nil {
		h.T.Fatal(err)
	}
	h.Publish(string(raw))
}

// summaries returns event, prio and tweaks of each poke to a pushkey.
func summaries(t *testing.T, pokes []eventstest.Poke, pushkey string) string {
	t.Helper()
	var all []string
	for _, p := range pokes {
		var body struct {
			Notification struct {
				Prio    string
				Devices []struct{ Tweaks json.RawMessage }
			}
		}
		if err := json.Unmarshal(p.Body, &body); err != nil || len(body.Notification.Devices) != 1 {
			t.Fatalf("a poke is %s: %v", p.Body, err)
		}
		if p.Pushkey == pushkey {
			all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", strings.TrimPrefix(string(p.EventID), "$"), body.Notification.Prio, body.Notification.Devices[0].Tweaks)))
		}
	}
	return strings.Join(all, ", ")
}

// Of four messages bob receives those that his rules admit, carol all.
func TestUsersOwnRulesDecide(t *testing.T) {
	const (
		loud    = `{"sound":"ping","highlight":true}`
		mention = `{"sound":"default","highlight":true}`
	)
	for name, tc := range map[string]struct {
		rules events.UserPushRules
		want  string
	}{
		"none":            {want: "plain low, cake low, named high " + mention + ", eve low"},
		"a keyword":       {events.UserPushRules{Changes: eventstest.Keyword("cake")}, "plain low, cake high " + loud + ", named high " + mention + ", eve low"},
		"a muted room":    {events.UserPushRules{Changes: muted("!r")}, "named high " + mention},
		"mentions only":   {events.UserPushRules{Changes: pushrule.Changes{Predefined: map[string]pushrule.Change{".m.rule.message": {Actions: []pushrule.Action{}}}}}, "named high " + mention},
		"a deaf room":     {events.UserPushRules{Changes: pushrule.Changes{Override: []pushrule.Rule{{ID: "deaf", Enabled: true, Conditions: []pushrule.Condition{`{"kind":"event_match","key":"room_id","pattern":"!r"}`}}}}}, ""},
		"the master":      {events.UserPushRules{Changes: dispatchertest.Master()}, ""},
		"an ignored user": {events.UserPushRules{IgnoredUsers: []events.UserID{"@alice:x"}}, "eve low"},
		"published, without most predefined rules": {events.UserPushRules{
			Changes: dispatchertest.Master(), // unused while rules are published
			Published: published(t, `{"content":[{"rule_id":".m.rule.contains_user_name","default":true,"enabled":true,"pattern":"bob","actions":["notify",{"set_tweak":"sound","value":"name"}]}],
				"override":[{"rule_id":".m.rule.roomnotif","default":true,"enabled":true,"conditions":[{"kind":"event_match","key":"content.body","pattern":"cake"}],"actions":["notify",{"set_tweak":"highlight"}]}]}`),
		}, `plain low, cake high {"highlight":true}, named high ` + mention + `, eve high {"sound":"name"}`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Register("@bob:x", "gw.test", "bob")
				h.Register("@carol:x", "gw.test", "carol")
				h.Rules("@bob:x", tc.rules)
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x", "@carol:x", "@eve:x")
				h.sayText("@alice:x", "plain", "hello")
				h.sayText("@alice:x", "cake", "there is cake")
				h.sayText("@alice:x", "named", "hello you", "@bob:x", "@carol:x")
				h.sayText("@eve:x", "eve", "hello bob")
				h.sayText("@alice:x", "last", "bye", "@carol:x") // once carol has it, she has all
				eventstest.WaitFor(t, "the last", func() bool { return strings.Contains(h.Delivered("carol"), "last") })
				<-time.After(time.Second)
				got, _, _ := strings.Cut(summaries(t, h.Gateway.Pokes(), "bob"), ", last")
				if got != tc.want {
					t.Errorf("bob got %q, want %q", got, tc.want)
				}
				if got := h.Delivered("carol"); got != "plain cake named eve last" {
					t.Errorf("carol got %q", got)
				}
				if n := strings.Count(tc.want, ","); len(h.LogOf("@bob:x")) > n+2 {
					t.Errorf("bob has %d notifications for %q", len(h.LogOf("@bob:x")), tc.want)
				}
			})
		})
	}
}

// An invite from an ignored user does not notify.
func TestInvitesFromIgnoredUsersNotifyNobody(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Rules("@bob:x", events.UserPushRules{IgnoredUsers: []events.UserID{"@eve:x"}})
		h.Start()
		h.Room("!a", "@alice:x")
		h.Room("!e", "@eve:x")
		for _, room := range []string{"e", "a"} {
			sender := map[string]string{"a": "@alice:x", "e": "@eve:x"}[room]
			h.Publish(`{"event_id":"$` + room + `","room_id":"!` + room + `","type":"m.room.member","sender":"` + sender + `","state_key":"@bob:x","content":{"membership":"invite"}}`)
		}
		h.Arrived(1)
		<-time.After(time.Second)
		if got := h.Delivered("bob"); got != "a" {
			t.Errorf("bob got %q", got)
		}
	})
}

func TestChangedRulesAreInEffectWithinASecond(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@carol:x")
		for i, set := range []events.UserPushRules{
			{}, {Changes: muted("!r")}, {Changes: eventstest.Keyword("1")}, {IgnoredUsers: []events.UserID{"@alice:x"}}, {},
		} {
			h.Rules("@bob:x", set) // waits a second
			h.Say("!r", "@alice:x", i, 1)
			<-time.After(time.Second) // before the next change
		}
		h.Arrived(3)
		<-time.After(time.Second)
		if got := h.Delivered("bob"); got != "r-0 r-2 r-4" {
			t.Errorf("bob got %q", got)
		}
	})
}

// Rules that cannot be read change nothing: the known ones stay in effect, or the predefined
// ones if none are known.
func TestUnreadableRulesChangeNothing(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@carol:x", "gw.test", "carol")
		h.Rules("@bob:x", events.UserPushRules{Changes: muted("!r")})
		spoil := func(user events.UserID) {
			token := events.Token(user)
			h.Server.Publish(fmt.Sprintf("$KV.PUSH_RULES.%d.%s", events.PartitionOf(token, h.Conn.Topology().Partitions), token), `{"user_id":"`+string(user)+`","changes":7}`)
			h.Noticed()
		}
		spoil("@carol:x")
		h.Start()
		spoil("@bob:x")
		h.Room("!r", "@alice:x", "@bob:x", "@carol:x")
		h.Say("!r", "@alice:x", 0, 2)
		h.Arrived(2)
		<-time.After(time.Second)
		if bob, carol := h.Delivered("bob"), h.Delivered("carol"); bob != "" || carol != "r-0 r-1" {
			t.Errorf("bob got %q, carol %q", bob, carol)
		}
	})
}

// A disabled pusher receives nothing, also nothing of its backlog. Enabled again, it starts
// with the next notification.
func TestDisabledPusherReceivesNothing(t *testing.T) {
	for _, lags := range []bool{false, true} {
		t.Run(fmt.Sprintf("lagging %t", lags), func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Register("@bob:x", "gw.test", "bob", "other")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				if lags {
					h.GatewayDown()
				}
				h.Say("!r", "@alice:x", 0, 2)
				<-time.After(time.Second)
				h.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob", Disabled: true}, events.Pusher{Pushkey: "other", Disabled: true})
				<-time.After(time.Second)
				if n := h.Backlog(); n != 0 {
					t.Errorf("%d pushers lag, want none", n)
				}
				h.GatewayUp()
				h.Say("!r", "@alice:x", 2, 2)
				<-time.After(time.Minute)
				h.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob"}, events.Pusher{Pushkey: "other", Disabled: true})
				h.Say("!r", "@alice:x", 4, 1)
				<-time.After(time.Minute)
				want := "r-0 r-1 r-4"
				if lags {
					want = "r-4"
				}
				if got := h.Delivered("bob"); got != want {
					t.Errorf("bob got %q, want %q", got, want)
				}
				if n := h.Dispatcher.Stats().Notifications; n != 3 {
					t.Errorf("%d notifications stored, want 3: none without an enabled pusher", n)
				}
			})
		})
	}
}

// A knock notifies those who may invite, if the registry offers that, also in a room without power levels and in
// one whose creators' power has no limit.
func TestKnocksNotifyThoseWhoMayInvite(t *testing.T) {
	for name, tc := range map[string]struct{ create, levels, want string }{
		"power levels":    {`{"room_version":"11"}`, `{"users":{"@alice:x":50,"@bob:x":49},"invite":50}`, "alice"},
		"usual levels":    {`{"room_version":"11"}`, `{"users":{"@alice:x":-1}}`, "bob carol"},
		"no power levels": {`{"room_version":"11"}`, "", "alice bob carol"},
		"creators":        {`{"room_version":"12","additional_creators":["@bob:x"]}`, `{"invite":100,"users":{"@carol:x":99}}`, "bob carla"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				for _, user := range []string{"alice", "bob", "carol", "carla"} {
					h.Register(events.UserID("@"+user+":x"), "gw.test", user)
				}
				if err := h.Conn.PutOfferedRules(t.Context(), pushrule.MSC4506); err != nil {
					t.Fatal(err)
				}
				h.Start()
				state := func(id, kind, key, sender, content string) {
					t.Helper()
					h.Publish(fmt.Sprintf(`{"event_id":"$%s","room_id":"!r","type":%q,"state_key":%q,"sender":%q,"content":%s}`, id, kind, key, sender, content))
				}
				creator := "@carla:x"
				if tc.want != "bob carla" {
					creator = "@eve:x"
				}
				state("create", "m.room.create", "", creator, tc.create)
				for _, user := range []string{"@alice:x", "@bob:x", "@carol:x", creator} {
					state("join-"+strings.Trim(user, "@:x"), "m.room.member", user, user, `{"membership":"join"}`)
				}
				if tc.levels != "" {
					state("levels", "m.room.power_levels", "", creator, tc.levels)
				}
				state("knock", "m.room.member", "@dan:x", "@dan:x", `{"membership":"knock"}`)
				<-time.After(5 * time.Second)
				var notified []string
				for _, user := range []string{"alice", "bob", "carol", "carla"} {
					if strings.Contains(h.Delivered(user), "knock") {
						notified = append(notified, user)
					}
				}
				if got := strings.Join(notified, " "); got != tc.want {
					t.Errorf("%s were notified, want %s", got, tc.want)
				}
			})
		})
	}
}

// What the registry offers is in effect for everyone within a second and after a restart, but for
// those whose homeserver publishes their rules.
func TestOfferedRulesAreInEffectWithinASecond(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		whole := pushrule.Predefined("@dan:x")
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@carol:x", "gw.test", "carol")
		h.Register("@dan:x", "gw.test", "dan")
		h.Rules("@carol:x", events.UserPushRules{Changes: pushrule.Changes{
			Room:       []pushrule.Rule{{ID: "!r", Enabled: true}},
			Predefined: map[string]pushrule.Change{".org.matrix.msc3930.rule.poll_start": {Enabled: new(false)}},
		}})
		h.Rules("@dan:x", events.UserPushRules{Published: &whole})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@carol:x", "@dan:x")
		offer := func(offers pushrule.Offers) {
			t.Helper()
			if err := h.Conn.PutOfferedRules(t.Context(), offers); err != nil {
				t.Fatal(err)
			}
			h.Noticed()
		}
		send := func(id, kind string) {
			t.Helper()
			h.Publish(`{"event_id":"$` + id + `","room_id":"!r","type":"` + kind + `","sender":"@alice:x","content":{}}`)
			<-time.After(time.Second)
		}
		const poll, secret = "org.matrix.msc3381.poll.start", "m.room.encrypted"
		send("poll-1", poll)
		send("secret-1", secret)
		offer(pushrule.MSC3930 | pushrule.MSC4028)
		send("poll-2", poll)
		send("secret-2", secret)
		h.Halt()
		h.Start()
		send("secret-3", secret)
		offer(pushrule.MSC3930)
		send("poll-4", poll)
		send("secret-4", secret)
		offer(0)
		send("poll-5", poll)
		send("secret-5", secret)
		for pushkey, want := range map[string]string{
			"bob":   "secret-1 poll-2 secret-2 secret-3 poll-4 secret-4 secret-5",
			"carol": "secret-2 secret-3",
			"dan":   "secret-1 secret-2 secret-3 secret-4 secret-5",
		} {
			if got := h.Delivered(pushkey); got != want {
				t.Errorf("%s got %q, want %q", pushkey, got, want)
			}
		}
	})
}
