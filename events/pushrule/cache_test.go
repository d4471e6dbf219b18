package pushrule

import (
	"runtime"
	"strings"
	"sync"
	"testing"
)

// namingOwner is a rule that contains its owner's id wherever it means the owner, in various spellings.
func namingOwner(userID string) Rule {
	return Rule{ID: "o", Enabled: true, Conditions: []Condition{
		Condition(`{"kind":"event_match","key":"state_key","pattern":` + quote(userID) + `}`),
		Condition(`{"pattern":"\u0040` + strings.TrimPrefix(userID, "@") + `","key":"content.target","kind":"event_match"}`),
		Condition(`{"kind":"event_property_contains","key":"content.list","value":` + quote(userID) + `}`),
	}}
}

func TestCacheSharesWhatDiffersInTheOwnID(t *testing.T) {
	cache := NewCache()
	compile := func(userID string, rules ...Rule) *Compiled {
		return cache.Compile((&Changes{Override: rules}).rulesetOf(userID), userID)
	}
	a := compile("@a:x", namingOwner("@a:x"))
	if b := compile("@b:x", namingOwner("@b:x")); a != b {
		t.Error("two users whose rules differ only in their own ids are in two classes")
	}
	disabled := Rule{ID: "off"}
	if b := compile("@b:x", disabled, namingOwner("@b:x")); a != b {
		t.Error("a disabled rule changes the class")
	}
	for name, other := range map[string]*Compiled{
		"another's id":          compile("@b:x", namingOwner("@a:x")),
		"another rule id":       compile("@b:x", Rule{ID: "p", Enabled: true, Conditions: namingOwner("@b:x").Conditions}),
		"another action":        compile("@b:x", Rule{ID: "o", Enabled: true, Conditions: namingOwner("@b:x").Conditions, Actions: []Action{notify}}),
		"fewer conditions":      compile("@b:x", Rule{ID: "o", Enabled: true, Conditions: namingOwner("@b:x").Conditions[:2]}),
		"the predefined":        compile("@b:x"),
		"the rule twice":        compile("@b:x", namingOwner("@b:x"), namingOwner("@b:x")),
		"no pattern":            cache.Compile((&Changes{Content: []Rule{{ID: "o", Enabled: true}}}).rulesetOf("@b:x"), "@b:x"),
		"predefined is changed": cache.Compile((&Changes{Predefined: map[string]Change{masterID: {Enabled: new(true)}}}).rulesetOf("@b:x"), "@b:x"),
	} {
		if other == a {
			t.Errorf("%s: in the same class", name)
		}
	}
	if compile("@a:x", Rule{ID: "off"}) != Everyone() {
		t.Error("with a disabled rule the predefined rules are not Everyone's")
	}
}

// TestCacheMatchesTheRightUser uses one text that is one user's own id and, to another user, somebody else's.
func TestCacheMatchesTheRightUser(t *testing.T) {
	cache := NewCache()
	rules := func(userID string) *Ruleset {
		return (&Changes{Override: []Rule{namingOwner("@a:x")}}).rulesetOf(userID)
	}
	a, b := cache.Compile(rules("@a:x"), "@a:x"), cache.Compile(rules("@b:x"), "@b:x")
	ev := NewEvent([]byte(`{"state_key":"@A:X","content":{"target":"@a:x","list":["@a:x"]}}`), Room{})
	if a.Evaluate(ev, User{ID: "@a:x"}) == nil || b.Evaluate(ev, User{ID: "@b:x"}) == nil {
		t.Error("the rule does not match for one of its two owners")
	}
	if a.Evaluate(ev, User{ID: "@c:x"}) != nil {
		t.Error("the rule matches for another user")
	}
}

func TestCacheForgets(t *testing.T) {
	cache := NewCache()
	entries := func() int {
		cache.mu.Lock()
		defer cache.mu.Unlock()
		return len(cache.compiled)
	}
	kept := cache.Compile(withOwnRules("@kept:x", 1, 0), "@kept:x")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 50 {
				cache.Compile(withOwnRules("@gone:x", i, 1), "@gone:x").Evaluate(NewEvent([]byte(`{}`), Room{}), User{})
			}
		})
	}
	group.Wait()
	for rounds := 0; entries() > 1 && rounds < 1_000; rounds++ {
		runtime.GC() // a goroutine of the runtime runs the cleanups afterwards
		runtime.Gosched()
	}
	if got := entries(); got != 1 {
		t.Errorf("%d entries, want only the one in use", got)
	}
	if cache.Compile(withOwnRules("@kept:x", 1, 0), "@kept:x") != kept {
		t.Error("a Compiled in use was compiled again")
	}
}

func (c *Changes) rulesetOf(userID string) *Ruleset {
	rules := c.Ruleset(userID)
	return &rules
}
