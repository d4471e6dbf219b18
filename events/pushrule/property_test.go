package pushrule

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// casesVariable sets how many random questions TestAgainstPlain compares.
const casesVariable = "PUSHRULE_CASES"

// TestAgainstPlain compares the plain evaluator with every entry point of the compiled one on the same random
// questions. The vocabulary is small, so that rules match often and for many reasons.
func TestAgainstPlain(t *testing.T) {
	cases := 20_000
	if raceDetector || testing.Short() { // the detector is slow, and nothing here is concurrent
		cases = 4_000
	}
	if text := os.Getenv(casesVariable); text != "" {
		var err error
		if cases, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	r := newRounds(t)
	for seed := uint64(0); r.asked < cases && !t.Failed(); seed++ {
		r.round(t, seed)
	}
	t.Logf("%d questions, %d users in a class with others, %d outcomes the same for all, rules that matched: %v",
		r.asked, r.shared, r.same, r.matched)
	for _, id := range []string{"", "own", ".m.rule.is_user_mention", ".m.rule.message"} {
		if r.matched[id] == 0 {
			t.Errorf("rule %q never matched: the questions are too poor", id)
		}
	}
	if r.shared == 0 || r.same == 0 {
		t.Error("no two users were in one class, or no event was the same for all: the questions are too poor")
	}
}

// rounds evaluates random questions and counts the results.
type rounds struct {
	cache      *Cache
	event      Event                        // whose memory each event uses again
	predefined map[string]map[Kind][]object // decoded, by owner

	asked, shared, same int
	matched             map[string]int
}

func newRounds(t *testing.T) *rounds {
	r := &rounds{cache: NewCache(), predefined: map[string]map[Kind][]object{}, matched: map[string]int{}}
	for _, owner := range userIDs {
		r.predefined[owner] = map[Kind][]object{}
		predefined := Predefined(owner)
		for _, list := range predefined.lists() {
			for _, rule := range list.rules {
				decoded := decodeNumbers(t, encode(t, rule)).(map[string]any)
				r.predefined[owner][list.kind] = append(r.predefined[owner][list.kind], decoded)
			}
		}
	}
	return r
}

// owned is a ruleset and its owner.
type owned struct {
	owner    string
	json     []byte
	decoded  any
	rules    Ruleset
	compiled *Compiled // for this owner
	class    *Compiled // from the cache
}

// round evaluates a few events for a few users. The rules of each pair of users differ only in their ids.
func (r *rounds) round(t *testing.T, seed uint64) {
	var users []owned
	g := newGenerator(seed, 0)
	for i := range uint64(3) {
		first, second := g.pick(userIDs), g.pick(userIDs)
		a, b := r.ruleset(t, newGenerator(seed, i+1), first), r.ruleset(t, newGenerator(seed, i+1), second)
		if first != second && a.class == b.class {
			r.shared++
		}
		users = append(users, a, b)
	}
	for range 8 {
		event, room := encode(t, g.event()), g.room()
		ev, decoded := &r.event, decodeNumbers(t, event)
		ev.Reset(string(event), room)
		var subscribed func(string) bool // in every other event: to threads
		if g.chance(50) {
			seed := g.Uint64()
			subscribed = func(user string) bool { return (seed>>(len(user)+int(user[len(user)/2]))%32)&1 == 0 }
		}
		ev.InThread(subscribed)
		decisions := map[*Compiled]*Decision{}
		for _, u := range users {
			decision, ok := decisions[u.class]
			if !ok {
				made := u.class.Decide(ev)
				decision = &made
				decisions[u.class] = decision
			}
			for range 2 {
				user := User{ID: u.owner, DisplayName: g.text(3)}
				r.ask(t, u, ev, decision, plainQuestion{u.decoded, decoded, room, user, subscribed})
				if t.Failed() {
					t.Fatalf("seed %d\nevent %s\nroom %+v\nuser %+v\nruleset %s", seed, event, room, user, u.json)
				}
			}
		}
	}
}

func (r *rounds) ruleset(t *testing.T, g generator, owner string) owned {
	u := owned{owner: owner, json: encode(t, g.ruleset(r.predefined[owner]))}
	unmarshal(t, u.json, &u.rules)
	u.decoded = decodeNumbers(t, u.json)
	u.compiled, u.class = Compile(&u.rules, owner), r.cache.Compile(&u.rules, owner)
	return u
}

// ask compares all evaluators on one question.
func (r *rounds) ask(t *testing.T, u owned, ev *Event, decision *Decision, question plainQuestion) {
	want := question.evaluate()
	compare(t, u.compiled.Evaluate(ev, question.user), want)
	got := decision.For(question.user)
	compare(t, got, want)
	if evaluated := u.class.Evaluate(ev, question.user); got != evaluated {
		t.Errorf("decided %+v, evaluated %+v", got, evaluated)
	}
	if r.asked%explainEvery == 0 {
		checkExplained(t, Explain(&u.rules, ev, question.user), got)
	}
	if rest, same := decision.Same(); same && question.property("sender") != question.user.ID {
		r.same++
		if got != rest {
			t.Errorf("got %+v, all others %+v", got, rest)
		}
	}
	r.matched[class(want.ruleID)]++
	r.asked++
}

// explainEvery is the number of questions for each one that is also explained, since Explain is slow.
const explainEvery = 5

// checkExplained compares an explanation with the outcome, and checks that it is consistent.
func checkExplained(t *testing.T, all []Explanation, got *Outcome) {
	t.Helper()
	var matched []string
	for _, e := range all {
		if e.Matched {
			matched = append(matched, string(e.Kind)+" "+e.RuleID)
		}
		if e.Matched && !e.Asked || e.Matched != (len(e.Why) == 0) || slices.Contains(e.Why, "") {
			t.Errorf("explanation contradicts itself: %+v", e)
		}
	}
	var want []string
	if got != nil {
		want = []string{string(got.Kind) + " " + got.RuleID}
	}
	if !slices.Equal(matched, want) {
		t.Errorf("explained that %q matched, want %q: %+v", matched, want, all)
	}
}

// class maps the id of a user's own rule to one common name.
func class(ruleID string) string {
	if ruleID != "" && !strings.HasPrefix(ruleID, ".") {
		return "own"
	}
	return ruleID
}

func compare(t *testing.T, got *Outcome, want plainAnswer) {
	t.Helper()
	if got == nil {
		if want.ruleID != "" {
			t.Errorf("no rule matched, want %+v", want)
		}
		return
	}
	tweaks := decodeNumbers(t, got.Tweaks())
	if got.RuleID != want.ruleID || got.Notify != want.notify || !reflect.DeepEqual(tweaks, any(want.tweaks)) {
		t.Errorf("got %+v, tweaks %v, want %+v", *got, tweaks, want)
	}
	highlighted, _ := want.tweaks["highlight"].(bool)
	sound, _ := want.tweaks["sound"].(string)
	if got.Highlight != highlighted || got.Sound != sound {
		t.Errorf("got highlight %t, sound %q, want %+v", got.Highlight, got.Sound, want)
	}
}

func decodeNumbers(t testing.TB, data []byte) (value any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("decode %s: %v", data, err)
	}
	return value
}
