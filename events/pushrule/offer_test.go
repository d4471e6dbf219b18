package pushrule

import (
	"iter"
	"slices"
	"strings"
	"testing"
)

func TestParseOffers(t *testing.T) {
	for _, tc := range []struct {
		names []string
		want  Offers
		bad   string
	}{
		{nil, 0, ""},
		{[]string{"msc3930"}, MSC3930, ""},
		{[]string{"msc4028", "msc3930", "msc4028"}, MSC3930 | MSC4028, ""},
		{[]string{"msc4028", "MSC3930"}, MSC4028, `"MSC3930"`},
		{[]string{""}, 0, `""`},
	} {
		got, err := ParseOffers(tc.names)
		if got != tc.want || (err != nil) != (tc.bad != "") || err != nil && !strings.Contains(err.Error(), tc.bad) {
			t.Errorf("%q: %v, %v, want %v", tc.names, got, err, tc.want)
		}
		if again, err := ParseOffers(got.Names()); again != got || err != nil {
			t.Errorf("%q: names %q are %v, %v", tc.names, got.Names(), again, err)
		}
	}
}

// Every proposal has rules, each at the place that its text names, and nobody sees those that are not offered.
func TestOfferedRules(t *testing.T) {
	for _, p := range proposals {
		rules := offering(&Changes{}, p.offer)
		if !slices.ContainsFunc(slices.Collect(ids(&rules)), func(id string) bool { return strings.Contains(id, p.name) }) {
			t.Errorf("%s has no rules", p.name)
		}
	}
	knocks := ruleIDs(offering(&Changes{}, MSC4506).Override)
	if at := slices.Index(knocks, ".org.matrix.msc4506.rule.knock"); at < 1 || knocks[at-1] != ".m.rule.invite_for_me" {
		t.Errorf("override of msc4506: %q", knocks)
	}
	polls := offering(&Changes{}, MSC3930)
	predefined := Predefined("@a:x")
	if got, want := ruleIDs(polls.Override), append(ruleIDs(predefined.Override), ".org.matrix.msc3930.rule.poll_response"); !slices.Equal(got, want) {
		t.Errorf("override:\n got %q\nwant %q", got, want)
	}
	want := append(ruleIDs(predefined.Underride),
		".org.matrix.msc3930.rule.poll_start_one_to_one", ".org.matrix.msc3930.rule.poll_start",
		".org.matrix.msc3930.rule.poll_end_one_to_one", ".org.matrix.msc3930.rule.poll_end")
	if got := ruleIDs(polls.Underride); !slices.Equal(got, want) {
		t.Errorf("underride:\n got %q\nwant %q", got, want)
	}
	threads := offering(&Changes{}, MSC4306)
	if got, want := ruleIDs(threads.PostContent), []string{".io.element.msc4306.rule.unsubscribed_thread", ".io.element.msc4306.rule.subscribed_thread"}; !slices.Equal(got, want) {
		t.Errorf("postcontent of msc4306: %q, want %q", got, want)
	}
	if polls.PostContent != nil {
		t.Errorf("clients that know no postcontent see it: %v", polls.PostContent)
	}
	// A user's own rules come before, so that one that mutes a room wins.
	encrypted := offering(&Changes{Override: []Rule{{ID: "mute", Enabled: true}}}, MSC4028)
	if got, want := ruleIDs(encrypted.Override)[:3], []string{masterID, "mute", ".org.matrix.msc4028.encrypted_event"}; !slices.Equal(got, want) {
		t.Errorf("override of msc4028: %q, want %q", got, want)
	}
}

func ids(rules *Ruleset) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, rule := range rules.InOrder() {
			if !yield(rule.ID) {
				return
			}
		}
	}
}

// What an operator offers decides about events of users who changed nothing and of users who did, without compiling
// anything again; a rule of the same id that a homeserver keeps counts whatever is offered.
func TestOfferedRulesDecide(t *testing.T) {
	const (
		start     = `{"type":"org.matrix.msc3381.poll.start","sender":"@b:x","room_id":"!r:x","content":{}}`
		end       = `{"type":"org.matrix.msc3381.poll.end","sender":"@b:x","room_id":"!r:x","content":{}}`
		response  = `{"type":"org.matrix.msc3381.poll.response","sender":"@b:x","room_id":"!r:x","content":{}}`
		encrypted = `{"type":"m.room.encrypted","sender":"@b:x","room_id":"!r:x","content":{}}`
		invited   = `{"type":"m.room.member","state_key":"@a:x","sender":"@b:x","room_id":"!r:x","content":{"membership":"invite"}}`
		knock     = `{"type":"m.room.member","state_key":"@b:x","sender":"@b:x","room_id":"!r:x","content":{"membership":"knock"}}`
		inThread  = `{"type":"m.room.message","sender":"@b:x","room_id":"!r:x","content":{"body":"tea","thread":1}}`
		keyword   = `{"type":"m.room.message","sender":"@b:x","room_id":"!r:x","content":{"body":"cake","thread":1}}`
		threaded  = `{"type":"m.room.message","sender":"@b:x","room_id":"!r:x","content":{"body":"tea","thread":2}}`
		named     = `{"type":"m.room.message","sender":"@b:x","room_id":"!r:x","content":{"m.mentions":{"user_ids":["@a:x"]},"thread":1}}`
		mentioned = `{"type":"org.matrix.msc3381.poll.response","sender":"@b:x","room_id":"!r:x","content":{"m.mentions":{"user_ids":["@a:x"]}}}`
	)
	none := &Changes{}
	mentionsOnly := &Changes{Room: []Rule{{ID: "!r:x", Enabled: true, Actions: []Action{}}}}
	muted := &Changes{Override: []Rule{{ID: "!r:x", Enabled: true, Conditions: []Condition{eventMatch("room_id", "!r:x")}}}}
	word := "cake"
	cake := &Changes{Content: []Rule{{ID: "cake", Enabled: true, Pattern: &word, Actions: []Action{notify}}}}
	loud := &Changes{Room: []Rule{{ID: "!r:x", Enabled: true, Actions: []Action{notify}}}}
	allThreads := &Changes{Predefined: map[string]Change{".io.element.msc4306.rule.unsubscribed_thread": {Enabled: new(false)}}}
	off := &Changes{Predefined: map[string]Change{
		".org.matrix.msc4028.encrypted_event": {Enabled: new(false)},
		".org.matrix.msc3930.rule.poll_start": {Actions: []Action{}},
	}}
	for _, tc := range []struct {
		name    string
		changes *Changes
		offers  Offers
		event   string
		members int
		want    string // rule, with ! if it notifies; "" if none matches
	}{
		{"poll not offered", none, 0, start, 2, ""},
		{"poll not offered, another is", none, MSC4028, start, 2, ""},
		{"poll", none, MSC3930, start, 3, ".org.matrix.msc3930.rule.poll_start!"},
		{"poll of two", none, MSC3930, start, 2, ".org.matrix.msc3930.rule.poll_start_one_to_one!"},
		{"poll ends", none, MSC3930, end, 3, ".org.matrix.msc3930.rule.poll_end!"},
		{"poll of two ends", none, MSC3930, end, 2, ".org.matrix.msc3930.rule.poll_end_one_to_one!"},
		{"answer", none, MSC3930, response, 2, ".org.matrix.msc3930.rule.poll_response"},
		{"answer that mentions", none, MSC3930, mentioned, 2, ".m.rule.is_user_mention!"},
		{"poll where only mentions notify", mentionsOnly, MSC3930, start, 3, "!r:x"},
		{"poll that the user switched off", off, MSC3930, start, 3, ".org.matrix.msc3930.rule.poll_start"},
		{"encrypted not offered", mentionsOnly, MSC3930, encrypted, 3, "!r:x"},
		{"encrypted", mentionsOnly, MSC4028, encrypted, 3, ".org.matrix.msc4028.encrypted_event!"},
		{"encrypted in a muted room", muted, MSC4028, encrypted, 3, "!r:x"},
		{"encrypted that the user switched off", off, MSC4028, encrypted, 2, ".m.rule.encrypted_room_one_to_one!"},
		{"knock not offered", none, MSC3930, knock, 3, ".m.rule.member_event"},
		{"knock", none, MSC4506, knock, 3, ".org.matrix.msc4506.rule.knock!"},
		{"knock that the user may not answer", none, MSC4506, strings.Replace(knock, "!r:x", "!closed:x", 1), 3, ".m.rule.member_event"},
		{"invite", none, MSC4506, invited, 3, ".m.rule.invite_for_me!"},
		{"thread not offered", none, MSC3930, inThread, 3, ".m.rule.message!"},
		{"thread without a subscription", none, MSC4306, inThread, 3, ".io.element.msc4306.rule.unsubscribed_thread"},
		{"thread", none, MSC4306, threaded, 3, ".io.element.msc4306.rule.subscribed_thread!"},
		{"outside threads", none, MSC4306, strings.Replace(inThread, `,"thread":1`, "", 1), 3, ".m.rule.message!"},
		{"mention in a thread without a subscription", none, MSC4306, named, 3, ".m.rule.is_user_mention!"},
		{"keyword in a thread without a subscription", cake, MSC4306, keyword, 3, "cake!"},
		{"thread where every message notifies", loud, MSC4306, inThread, 3, ".io.element.msc4306.rule.unsubscribed_thread"},
		{"thread where only mentions notify", mentionsOnly, MSC4306, threaded, 3, ".io.element.msc4306.rule.subscribed_thread!"},
		{"thread in a muted room", muted, MSC4306, threaded, 3, "!r:x"},
		{"threads that the user wants all of", allThreads, MSC4306, inThread, 3, ".m.rule.message!"},
		{"other events", mentionsOnly, MSC3930 | MSC4028, invited, 2, ".m.rule.invite_for_me!"},
	} {
		cache, rules := NewCache(), tc.changes.Ruleset("@a:x")
		user, compiled := User{ID: "@a:x"}, cache.Compile(&rules, "@a:x")
		if (compiled == Everyone()) != tc.changes.IsZero() {
			t.Errorf("%s: the rules are not those of everyone", tc.name)
		}
		prepared := func() *Event {
			levels := ParsePowerLevels([]byte(`{"invite":50}`))
			ev := NewEvent([]byte(tc.event), Room{MemberCount: tc.members, Levels: &levels, LevelOf: func(string) (int64, bool) {
				return 50, false
			}})
			if strings.Contains(tc.event, "!closed:x") {
				levels.Invite = 51
			}
			ev.Offer(tc.offers)
			if strings.Contains(tc.event, `"thread"`) {
				ev.InThread(func(user string) bool { return user == "@a:x" && tc.event == threaded })
			}
			return ev
		}
		decision := compiled.Decide(prepared())
		explained := ""
		for _, e := range Explain(&rules, prepared(), user) {
			if e.Matched {
				explained = e.RuleID
			}
			if strings.Contains(e.RuleID, "msc") && tc.offers == 0 {
				t.Errorf("%s: explains %s", tc.name, e.RuleID)
			}
		}
		for how, got := range map[string]*Outcome{
			"evaluated": compiled.Evaluate(prepared(), user), "decided": decision.For(user), "alone": Compile(&rules, "@a:x").Evaluate(prepared(), user),
		} {
			text := ""
			if got != nil {
				text = got.RuleID
			}
			if text != explained {
				t.Errorf("%s: %s by %q, explained by %q", tc.name, how, text, explained)
			}
			if got.Notifies() {
				text += "!"
			}
			if text != tc.want {
				t.Errorf("%s: %s by %q, want %q", tc.name, how, text, tc.want)
			}
		}
	}
}

// A homeserver's ruleset that has the rules already decides, whatever the operator of poked offers.
func TestRulesetOfHomeserverWithProposedRules(t *testing.T) {
	whole := (&Changes{}).Ruleset("@a:x")
	text, err := whole.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var kept, lacking Ruleset
	if err := kept.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	lacking = Predefined("@a:x")
	for _, tc := range []struct {
		rules *Ruleset
		event string
		want  string
	}{
		{&kept, "m.room.encrypted", ".org.matrix.msc4028.encrypted_event"},
		{&kept, "org.matrix.msc3381.poll.start", ".org.matrix.msc3930.rule.poll_start"},
		{&kept, "org.matrix.msc3381.poll.response", ".org.matrix.msc3930.rule.poll_response"},
		{&lacking, "m.room.encrypted", ".m.rule.encrypted"},
		{&lacking, "org.matrix.msc3381.poll.start", ""},
	} {
		for _, offers := range []Offers{0, MSC3930 | MSC4028} {
			ev := NewEvent([]byte(`{"type":"`+tc.event+`","sender":"@b:x","room_id":"!r:x","content":{}}`), Room{MemberCount: 3})
			ev.Offer(offers)
			completed, got := tc.rules.Completed("@a:x"), ""
			if o := NewCache().Compile(&completed, "@a:x").Evaluate(ev, User{ID: "@a:x"}); o != nil {
				got = o.RuleID
			}
			if got != tc.want {
				t.Errorf("%s, offering %v: by %q, want %q", tc.event, offers.Names(), got, tc.want)
			}
		}
	}
}
