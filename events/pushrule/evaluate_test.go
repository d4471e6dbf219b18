package pushrule

import (
	"fmt"
	"strings"
	"testing"
)

const messageEvent = `{"type":"m.room.message","event_id":"$143273582443PhrSn:example.org",` +
	`"room_id":"!636q39766251:example.com","sender":"@example:example.org","origin_server_ts":1432735824653,` +
	`"content":{"msgtype":"m.text","body":"I am not sure that I can come to the meeting on Friday, sorry",` +
	`"format":"org.matrix.custom.html","formatted_body":"I am <em>not</em> sure","m.mentions":{"user_ids":["@u7:x"]}},` +
	`"unsigned":{"age":1234,"transaction_id":"m1432735824653.0"}}`

// withOwnRules returns the predefined rules with keywords and room rules before them, none of which match.
func withOwnRules(userID string, keywords, rooms int) *Ruleset {
	rules := Predefined(userID)
	for i := range keywords {
		pattern := fmt.Sprintf("keyword%d of%s", i, strings.TrimPrefix(userID, "@"))
		if i%2 == 0 {
			pattern = fmt.Sprintf("keyword%d", i)
		}
		rules.Content = append(rules.Content, Rule{ID: pattern, Enabled: true, Pattern: &pattern})
	}
	for i := range rooms {
		rules.Room = append(rules.Room, Rule{ID: fmt.Sprintf("!%012d:example.com", i), Enabled: true})
	}
	return &rules
}

func TestEvaluateDoesNotAllocate(t *testing.T) {
	ev := NewEvent([]byte(messageEvent), Room{MemberCount: 100})
	own := Compile(withOwnRules("@me:x", 20, 20), "@me:x")
	legacy := Compile(&Ruleset{Override: []Rule{{ID: ".m.rule.any", Enabled: true,
		Conditions: []Condition{`{"kind":"contains_display_name"}`}}}}, "")
	for name, compiled := range map[string]*Compiled{"everyone": Everyone(), "own": own, "legacy": legacy} {
		user := User{ID: "@me:x", DisplayName: "Somebody Not There"}
		if got := testing.AllocsPerRun(100, func() { compiled.Evaluate(ev, user) }); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}
