package pushrule

import (
	"fmt"
	"strings"
	"testing"
)

// The plain evaluator is the baseline, at sizes that it can handle: a body of 60 KB takes it 12 s for each member.

func BenchmarkNewEvent(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Everyone().Decide(NewEvent([]byte(messageEvent), Room{MemberCount: 100}))
	}
}

// BenchmarkReset is the same with the memory of the event before.
func BenchmarkReset(b *testing.B) {
	ev := new(Event)
	b.ReportAllocs()
	for b.Loop() {
		ev.Reset(messageEvent, Room{MemberCount: 100})
		Everyone().Decide(ev)
	}
}

func BenchmarkOneUser(b *testing.B) {
	predefined := Predefined("@me:x")
	user, room := User{ID: "@me:x", DisplayName: "Me"}, Room{MemberCount: 100}
	for name, rules := range map[string]*Ruleset{
		"predefined":             &predefined,
		"20_keywords_20_rooms":   withOwnRules("@me:x", 20, 20),
		"200_keywords_200_rooms": withOwnRules("@me:x", 200, 200),
	} {
		compiled, ev := Compile(rules, user.ID), NewEvent([]byte(messageEvent), room)
		b.Run(name+"/evaluate", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				compiled.Evaluate(ev, user)
			}
		})
		b.Run(name+"/decide", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d := compiled.Decide(ev)
				d.For(user)
			}
		})
		b.Run(name+"/plain", func(b *testing.B) {
			question := plainQuestion{decodeNumbers(b, encode(b, rules)), decodeNumbers(b, []byte(messageEvent)), room, user, nil}
			for b.Loop() {
				question.evaluate()
			}
		})
	}
}

// BenchmarkBulk evaluates one event, parsed from JSON, for the 10 000 members of a room. One in twenty has ten
// keywords of their own; the others share rules.
//
//	for    asks the common Decision for each of these, and evaluates for the rest
//	same   asks it once if all get the same outcome
//	each   evaluates for everyone
//	plain  uses the plain evaluator, for fewer members
func BenchmarkBulk(b *testing.B) {
	const members = 10_000
	legacy := Predefined(anyUser)
	legacy.Override = append(legacy.Override, Rule{ID: ".m.rule.contains_display_name", Default: true, Enabled: true,
		Conditions: []Condition{`{"kind":"contains_display_name"}`}, Actions: []Action{notify, highlight}})
	const text = "I am not sure that I can come"
	quiet := strings.Replace(messageEvent, `,"m.mentions":{"user_ids":["@u7:x"]}`, "", 1)
	for _, test := range []struct {
		name, event string
		common      *Ruleset
		plain       int // members; 0 where a single one takes seconds
	}{
		{"mention", messageEvent, nil, 100},
		{"short", quiet, nil, 100},
		{"60KB", strings.Replace(quiet, text, strings.Repeat("a longer story about nothing ", 2_100), 1), nil, 0},
		{"60KB_names", strings.Replace(quiet, text, names(60_000), 1), nil, 0},
		{"60KB_names_legacy", strings.Replace(quiet, text, names(60_000), 1), &legacy, 0},
	} {
		room := newCrowd(members, test.common)
		event := []byte(test.event)
		for name, visit := range map[string]func(*crowd, *Event){
			"for": (*crowd).visitFor, "same": (*crowd).visitSame, "each": (*crowd).visitEach,
		} {
			b.Run(test.name+"/"+name, func(b *testing.B) {
				for b.Loop() {
					visit(room, NewEvent(event, Room{MemberCount: members}))
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/members, "ns/member")
			})
		}
		if test.plain == 0 {
			continue
		}
		b.Run(test.name+"/plain", func(b *testing.B) {
			questions := newCrowd(test.plain, test.common).plain(b, test.event)
			for b.Loop() {
				for _, question := range questions {
					question.evaluate()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(test.plain), "ns/member")
		})
	}
}

// names returns a text of at least size bytes that contains every keyword and name, but no keyword of several words
// as a whole.
func names(size int) string {
	var text strings.Builder
	for i := 0; text.Len() < size; i++ {
		fmt.Fprintf(&text, "User %d, ofu%d and x, of keyword%d; ", i*3, i*20, i%10|1)
	}
	return text.String()
}

// crowd is the members of a room: some have rules of their own, the others share rules.
type crowd struct {
	common  *Compiled
	rules   *Ruleset // of the others; nil: predefined
	others  []User   // members that share rules
	own     []User
	ownRule []*Compiled
}

func newCrowd(count int, common *Ruleset) *crowd {
	c := &crowd{common: Everyone(), rules: common}
	if common != nil {
		c.common = Compile(common, anyUser)
	}
	for i := range count {
		user := User{ID: fmt.Sprintf("@u%d:x", i), DisplayName: fmt.Sprintf("User %d", i)}
		if i%20 == 0 {
			c.own = append(c.own, user)
			c.ownRule = append(c.ownRule, Compile(withOwnRules(user.ID, 10, 0), user.ID))
		} else {
			c.others = append(c.others, user)
		}
	}
	return c
}

func (c *crowd) visitFor(ev *Event) {
	decision := c.common.Decide(ev)
	for i := range c.others {
		decision.For(c.others[i])
	}
	c.visitOwn(ev)
}

func (c *crowd) visitSame(ev *Event) {
	decision := c.common.Decide(ev)
	if _, same := decision.Same(); !same {
		for i := range c.others {
			decision.For(c.others[i])
		}
	}
	c.visitOwn(ev)
}

func (c *crowd) visitEach(ev *Event) {
	for i := range c.others {
		c.common.Evaluate(ev, c.others[i])
	}
	c.visitOwn(ev)
}

func (c *crowd) visitOwn(ev *Event) {
	for i := range c.own {
		c.ownRule[i].Evaluate(ev, c.own[i])
	}
}

// plain returns the same evaluations as questions for the plain evaluator.
func (c *crowd) plain(b *testing.B, event string) []plainQuestion {
	var questions []plainQuestion
	decoded, room := decodeNumbers(b, []byte(event)), Room{MemberCount: 10_000}
	ask := func(user User, rules *Ruleset) {
		questions = append(questions, plainQuestion{decodeNumbers(b, encode(b, rules)), decoded, room, user, nil})
	}
	for _, user := range c.others {
		rules := Predefined(user.ID)
		if c.rules != nil {
			rules = *c.rules
		}
		ask(user, &rules)
	}
	for _, user := range c.own {
		ask(user, withOwnRules(user.ID, 10, 0))
	}
	return questions
}

// BenchmarkCompile compiles a user's rules with 20 keywords and 20 rooms.
func BenchmarkCompile(b *testing.B) {
	rules := withOwnRules("@me:x", 20, 20)
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Compile(rules, "@me:x")
		}
	})
	b.Run("cached", func(b *testing.B) {
		cache := NewCache()
		kept := cache.Compile(rules, "@me:x")
		b.ReportAllocs()
		for b.Loop() {
			if cache.Compile(rules, "@me:x") != kept {
				b.Fatal("not cached")
			}
		}
	})
}

// BenchmarkHostile measures the most expensive patterns on a body of 60 KB.
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
