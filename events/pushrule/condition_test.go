package pushrule

import (
	"fmt"
	"strings"
	"testing"
)

// holds evaluates one condition on an event for @me:x.
func holds(condition, event string, room Room, user User) bool {
	user.ID = "@me:x"
	rules := Ruleset{Override: []Rule{{ID: "o", Enabled: true, Conditions: []Condition{Condition(condition)}}}}
	return Compile(&rules, user.ID).Evaluate(NewEvent([]byte(event), room), user) != nil
}

func TestConditions(t *testing.T) {
	const is, contains = `{"kind":"event_property_is",`, `{"kind":"event_property_contains",`
	for _, test := range []struct {
		condition, event string
		want             bool
	}{
		{`{"kind":"event_match","key":"content.body","pattern":"hi"}`, `{"content":{"body":"oh, hi!"}}`, true},
		{`{"kind":"event_match","key":"content\\.body","pattern":"hi"}`, `{"content.body":"oh, hi!"}`, false},
		{`{"kind":"event_match","key":"state_key","pattern":"@me:x"}`, `{"state_key":"@Me:x"}`, true},
		{`{"kind":"event_match","key":"state_key","pattern":"@me:x"}`, `{"state_key":"@you:x"}`, false},
		{`{"kind":"event_match","key":"state_key","pattern":"@me:x"}`, `{}`, false},
		{`{"kind":"event_match","key":"a.b","pattern":"*"}`, `{"a":"x"}`, false},
		{`{"kind":"event_match","key":"a","pattern":"2"}`, `{"a":1,"a":"2"}`, true}, // the last of two equal keys wins
		{`{"kind":"event_match","key":"a","pattern":5}`, `{"a":"5"}`, false},
		{`{"kind":"event_match","key":5,"pattern":"5"}`, `{"5":"5"}`, false},
		{is + `"key":"a","value":"A"}`, `{"a":"a"}`, false},
		{is + `"key":"a","value":-9007199254740991}`, `{"a":-9007199254740991}`, true},
		{is + `"key":"a","value":9007199254740992}`, `{"a":9007199254740992}`, false},
		{is + `"key":"a","value":1.0}`, `{"a":1.0}`, false},
		{is + `"key":"a","value":1}`, `{"a":1e0}`, false},
		{is + `"key":"a","value":0}`, `{"a":-0}`, true},
		{is + `"key":"a","value":{}}`, `{"a":{}}`, false},
		{is + `"key":"a"}`, `{"a":null}`, false},
		{is + `"key":"a","value":null}`, `{"a":null}`, true},
		{contains + `"key":"a","value":"@me:x"}`, `{"a":["@me:x"]}`, true},
		{contains + `"key":"a","value":"@me:x"}`, `{"a":["@Me:x"]}`, false},
		{contains + `"key":"a","value":1}`, `{"a":[1.5,[1],{"b":1},"1"]}`, false},
		{contains + `"key":"a.b","value":true}`, `{"a":[{"b":[true]}]}`, false},
		{contains + `"key":"a","value":99}`, many(100), true},
		{contains + `"key":"a","value":100}`, many(100), false},
		{`{"kind":"sender_notification_permission"}`, `{}`, false},
		{`{"kind":"room_member_count","is":2}`, `{}`, false},
		{`"{\"kind\":\"contains_display_name\"}"`, `{"content":{"body":"Me"}}`, false},
		{`{"kind":"contains_display_name"}`, `{"content":{"body":"call me, * [ME] ?"}}`, true},
		{`{"kind":"contains_display_name"}`, `{"content":{"body":"call meow, [ME]"}}`, false},
	} {
		user := User{DisplayName: "* [me] ?"}
		if got := holds(test.condition, test.event, Room{}, user); got != test.want {
			t.Errorf("%s on %s: got %t, want %t", test.condition, test.event, got, test.want)
		}
	}
}

// many returns an event with the numbers from 0 to n-1 in an array, and as many other properties.
func many(n int) string {
	var numbers, others []string
	for i := range n {
		numbers = append(numbers, fmt.Sprint(i))
		others = append(others, fmt.Sprintf(`"x%d":%d`, i, i))
	}
	return `{"a":[` + strings.Join(numbers, ",") + `],` + strings.Join(others, ",") + `}`
}

func TestDisplayName(t *testing.T) {
	long := strings.Repeat("-aa", 20)
	for _, test := range []struct {
		name, body string
		want       bool
	}{
		{"", "", false},
		{"", "x", false},
		{"Ann", "ANN?", true},
		{"Ann", "Anna", false},
		{"Ann B", "Ann Bo, Ann B.", true},
		{"A*", "Ann", false},
		{"A?", "A? An", true},
		{"⚡", "a⚡b", true},
		{long, long + "b", false},
		{long, long + "b " + long, true},
	} {
		event := `{"content":{"body":` + quote(test.body) + `}}`
		if got := holds(`{"kind":"contains_display_name"}`, event, Room{}, User{DisplayName: test.name}); got != test.want {
			t.Errorf("%q in %q: got %t, want %t", test.name, test.body, got, test.want)
		}
	}
}

func TestMemberCount(t *testing.T) {
	for is, want := range map[string][3]bool{ // in rooms of 1, 2 and 3 members
		"2":                                  {false, true, false},
		"==2":                                {false, true, false},
		"<2":                                 {true, false, false},
		"<=2":                                {true, true, false},
		">2":                                 {false, false, true},
		">=2":                                {false, true, true},
		"002":                                {false, true, false},
		"=2":                                 {},
		"<>2":                                {},
		"+2":                                 {},
		" 2":                                 {},
		"2 ":                                 {},
		"":                                   {},
		"<":                                  {},
		"0":                                  {},
		">0":                                 {true, true, true},
		"<" + strings.Repeat("0", 100) + "2": {true, false, false},
		"<9223372036854775807":               {true, true, true},
		">9223372036854775806":               {},
		">=9223372036854775807":              {},
		">9223372036854775807":               {},
		"<9223372036854775808":               {true, true, true},
		"<=99999999999999999999":             {true, true, true},
		"<" + strings.Repeat("9", 1000):      {true, true, true},
		">99999999999999999999":              {},
		">=99999999999999999999":             {},
		"99999999999999999999":               {},
		"==18446744073709551617":             {}, // would be 1 if truncated to 64 bits
		"18446744073709551618":               {},
	} {
		for i, want := range want {
			condition := `{"kind":"room_member_count","is":` + quote(is) + `}`
			if got := holds(condition, `{}`, Room{MemberCount: i + 1}, User{}); got != want {
				t.Errorf("%q with %d members: got %t, want %t", is, i+1, got, want)
			}
		}
	}
}

func TestSenderPermission(t *testing.T) {
	levels := map[string]int64{"room": 30, "free": -1}
	for _, test := range []struct {
		key  string
		room Room
		want bool
	}{
		{"room", Room{SenderLevel: 30, NotificationLevels: levels}, true},
		{"room", Room{SenderLevel: 29, NotificationLevels: levels}, false},
		{"other", Room{SenderLevel: 49, NotificationLevels: levels}, false},
		{"other", Room{SenderLevel: 50}, true},
		{"free", Room{NotificationLevels: levels}, true},
		{"room", Room{SenderIsCreator: true, SenderLevel: -5, NotificationLevels: levels}, true},
	} {
		condition := `{"kind":"sender_notification_permission","key":` + quote(test.key) + `}`
		if got := holds(condition, `{}`, test.room, User{}); got != test.want {
			t.Errorf("%s in %+v: got %t, want %t", test.key, test.room, got, test.want)
		}
	}
}

func TestRecipientPermission(t *testing.T) {
	levels := ParsePowerLevels([]byte(`{"users":{"@mod:x":50,"@half:x":30},"users_default":5,"invite":30,"redact":10}`))
	usual := ParsePowerLevels(nil)
	room := func(levels *PowerLevels) Room {
		return Room{Levels: levels, LevelOf: func(id string) (int64, bool) { return levels.Of(id), id == "@creator:x" }}
	}
	for _, test := range []struct {
		user, key string
		levels    *PowerLevels
		want      bool
	}{
		{"@mod:x", `"invite"`, &levels, true},
		{"@half:x", `"invite"`, &levels, true},
		{"@any:x", `"invite"`, &levels, false},
		{"@creator:x", `"invite"`, &levels, true},
		{"@half:x", `"kick"`, &levels, false},
		{"@mod:x", `"kick"`, &levels, true},
		{"@half:x", `"ban"`, &levels, false},
		{"@half:x", `"redact"`, &levels, true},
		{"@creator:x", `"events_default"`, &levels, false},
		{"@creator:x", `""`, &levels, false},
		{"@creator:x", `7`, &levels, false},
		{"@any:x", `"invite"`, &usual, true},
		{"@any:x", `"kick"`, &usual, false},
	} {
		condition := `{"kind":"org.matrix.msc4506.recipient_permission","key":` + test.key + `}`
		rules := Ruleset{Override: []Rule{{ID: "o", Enabled: true, Conditions: []Condition{Condition(condition)}}}}
		compiled, user := Compile(&rules, test.user), User{ID: test.user}
		ev := NewEvent([]byte(`{}`), room(test.levels))
		decision := compiled.Decide(ev)
		if got := compiled.Evaluate(ev, user) != nil; got != test.want || (decision.For(user) != nil) != got {
			t.Errorf("%s %s: got %t", test.user, test.key, got)
		}
		if why := Explain(&rules, ev, user)[0].Why; test.user == "@half:x" && test.key == `"kick"` && (len(why) != 1 || !strings.HasSuffix(why[0], "the user has power level 30 and needs 50")) {
			t.Errorf("explained by %q", why)
		}
	}
}

// TestUnstableWithoutFacts checks that conditions whose facts are unknown never hold.
func TestUnstableWithoutFacts(t *testing.T) {
	event := `{"content":{"m.relates_to":{"rel_type":"m.thread","event_id":"$a"}}}`
	for _, condition := range []string{
		`{"kind":"io.element.msc4306.thread_subscription","subscribed":true}`,
		`{"kind":"io.element.msc4306.thread_subscription","subscribed":false}`,
		`{"kind":"io.element.msc4306.thread_subscription"}`,
		`{"kind":"org.matrix.msc4506.recipient_permission","key":"invite"}`,
		`{"kind":"im.nheko.msc3664.related_event_match","rel_type":"m.thread"}`,
	} {
		if holds(condition, event, Room{}, User{}) {
			t.Errorf("%s holds", condition)
		}
	}
}

func TestFallbackReplies(t *testing.T) {
	ev := NewEvent([]byte(`{"content":{"m.relates_to":{"rel_type":"m.thread","is_falling_back":true}}}`), Room{})
	ev.Relate("m.in_reply_to", NewEvent([]byte(`{"sender":"@a:x"}`), Room{}))
	for parameters, want := range map[string]bool{``: false, `,"include_fallbacks":true`: true} {
		condition := Condition(`{"kind":"im.nheko.msc3664.related_event_match","rel_type":"m.in_reply_to",` +
			`"key":"sender","pattern":"@a:*"` + parameters + `}`)
		rules := Ruleset{Override: []Rule{{ID: "o", Enabled: true, Conditions: []Condition{condition}}}}
		if got := Compile(&rules, "").Evaluate(ev, User{ID: "@me:x"}) != nil; got != want {
			t.Errorf("%s: got %t, want %t", condition, got, want)
		}
	}
}
