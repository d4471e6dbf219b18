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

func manyUsers(count int) []User {
	users := make([]User, count)
	for i := range users {
		users[i] = User{ID: fmt.Sprintf("@u%d:x", i), DisplayName: fmt.Sprintf("User %d", i)}
	}
	return users
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

func BenchmarkNewEvent(b *testing.B) {
	for b.Loop() {
		Everyone().Evaluate(NewEvent([]byte(messageEvent), Room{MemberCount: 100}), User{ID: "@me:x"})
	}
}

func BenchmarkOneUser(b *testing.B) {
	ev := NewEvent([]byte(messageEvent), Room{MemberCount: 100})
	for name, compiled := range map[string]*Compiled{
		"predefined":             Everyone(),
		"20_keywords_20_rooms":   Compile(withOwnRules("@me:x", 20, 20), "@me:x"),
		"200_keywords_200_rooms": Compile(withOwnRules("@me:x", 200, 200), "@me:x"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				compiled.Evaluate(ev, User{ID: "@me:x", DisplayName: "Me"})
			}
		})
	}
	b.Run("plain", func(b *testing.B) {
		rules := Predefined("@me:x")
		question := plainQuestion{decodeNumbers(b, encode(b, rules)), decodeNumbers(b, []byte(messageEvent)),
			Room{MemberCount: 100}, User{ID: "@me:x"}}
		for b.Loop() {
			question.evaluate()
		}
	})
}

// BenchmarkMembers takes one event to all members of a room, who are on the predefined rules, but for one in twenty
// with ten keywords.
func BenchmarkMembers(b *testing.B) {
	names := strings.Repeat("user 7 keyword3 keyword4 ", 2_500)
	bodies := map[string]string{
		"short":      "I am not sure that I can come",
		"60KB":       strings.Repeat("a longer story about nothing ", 2_100),
		"60KB_names": names,
	}
	for _, count := range []int{100, 10_000} {
		users := manyUsers(count)
		compiled := make([]*Compiled, count)
		for i := range compiled {
			compiled[i] = Everyone()
			if i%20 == 0 {
				compiled[i] = Compile(withOwnRules(users[i].ID, 10, 0), users[i].ID)
			}
		}
		for name, text := range bodies {
			event := []byte(strings.Replace(messageEvent, "I am not sure that I can come", text, 1))
			b.Run(fmt.Sprintf("%d/%s", count, name), func(b *testing.B) {
				for b.Loop() {
					ev := NewEvent(event, Room{MemberCount: count})
					for i, user := range users {
						compiled[i].Evaluate(ev, user)
					}
				}
			})
		}
	}
}

// BenchmarkHostile shows what the worst patterns cost on a body of 60 KB.
func BenchmarkHostile(b *testing.B) {
	for name, pair := range hostile() {
		b.Run(name, func(b *testing.B) {
			g, text := newGlob(pair.pattern), appendFold(nil, pair.body)
			for b.Loop() {
				g.matchStretch(text)
			}
		})
	}
}
