package registry

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"poked/events/eventstest"
)

// TestRuleOrder places rules next to others, and moves them.
func TestRuleOrder(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	for _, scope := range []string{"global/", "device/h/"} {
		for _, c := range []struct{ put, order string }{
			{"a", "a"},
			{"b", "b a"},
			{"c?after=b", "b c a"},
			{"d?before=a", "b c d a"},
			{"e?after=a", "b c d a e"},
			{"f?before=b", "f b c d a e"},
			{"c", "f b c d a e"}, // a changed rule keeps its place
			{"c?before=f", "c f b d a e"},
			{"c?after=e", "f b d a e c"},
			{"a?before=c", "f b d e a c"},
			{"b?after=f", "f b d e a c"},
			{"g?before=d&after=a", "f b g d e a c"}, // before wins
			{"g?before=f&after=gone", "g f b d e a c"},
			{"h?before=&after=", "h g f b d e a c"},
		} {
			h.put(scope+"override/"+c.put, firstRule)
			if got := strings.Join(h.ruleIDs(scope, "override"), " "); got != c.order {
				t.Fatalf("%s: %s: %s, want %s", scope, c.put, got, c.order)
			}
		}
	}
}

// TestMovingRewritesNoOther checks that rules keep their positions while others are
// placed between them.
func TestMovingRewritesNoOther(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.exec("CREATE TABLE written (rule_id TEXT)")
	h.trigger("w", "AFTER UPDATE ON push_rules", "INSERT INTO written VALUES (new.rule_id);")
	for i := range 20 {
		h.put(fmt.Sprintf("global/room/%d", i), firstRule)
	}
	for i := range 10 {
		h.put(fmt.Sprintf("global/room/0?before=%d", 19-i), firstRule)
	}
	if all, own := h.count("written"), h.count("written WHERE rule_id = '0'"); all != 10 || own != 10 {
		t.Errorf("%d rows written, %d of the rule that moved, want 10 of it", all, own)
	}
}

// TestUsedUpGap inserts rules at one place until the gap is used up, and continues.
func TestUsedUpGap(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.put("global/sender/other", firstRule)
	var other int64
	position := func(of string) (p int64) {
		if err := h.reg.db.Get(t.Context(), &p, "SELECT position FROM push_rules WHERE rule_id = '"+of+"'"); err != nil {
			t.Fatal(err)
		}
		return p
	}
	other = position("other")
	h.put("global/room/last", firstRule)
	h.put("global/room/first", firstRule)
	last, want := position("last"), []string{"first"}
	for i := range 40 {
		id := fmt.Sprint(i)
		h.put("global/room/"+id+"?before=last", firstRule)
		want = append(want, id)
	}
	want = append(want, "last")
	if got := h.ruleIDs("global/", "room"); !slices.Equal(got, want) {
		t.Errorf("order %q", got)
	}
	if position("last") == last {
		t.Error("no rule was renumbered: the test used up no gap")
	}
	if position("other") != other {
		t.Error("another kind was renumbered")
	}
	h.exec(fmt.Sprintf("UPDATE push_rules SET position = position - %d WHERE kind = 'room'", int64(1<<62)))
	h.put("global/room/newest", firstRule)
	if got := h.ruleIDs("global/", "room"); !slices.Equal(got, append([]string{"newest"}, want...)) {
		t.Errorf("order at the end of all positions %q", got)
	}
	if p := position("newest"); p < 0 || p > 1000<<32 {
		t.Errorf("position %d", p)
	}
}
