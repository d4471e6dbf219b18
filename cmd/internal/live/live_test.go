package live

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"poked/testdata"
)

// The table has each step once, and says what the specification demands of it and where.
func TestTableOfTheDay(t *testing.T) {
	var table []expected
	if err := json.Unmarshal([]byte(testdata.LiveDay()), &table); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, want := range table {
		if want.What == "" || want.Spec == "" || want.Pokes == nil {
			t.Errorf("%s: %+v", want.ID, want)
		}
		ids = append(ids, want.ID)
	}
	slices.Sort(ids)
	if steps := slices.Sorted(maps.Keys((&day{}).steps())); !slices.Equal(ids, steps) {
		t.Errorf("the table has %v, the steps are %v", ids, steps)
	}
}

// A message that comes again later is in order, one that comes for the first time after a newer
// one is not.
func TestInOrder(t *testing.T) {
	said := []string{"a", "b", "c"}
	for _, c := range []struct {
		came []string
		want bool
	}{
		{said, true},
		{[]string{"a", "b", "a", "b", "c"}, true},
		{[]string{"a", "c"}, true},
		{[]string{"a", "c", "b"}, false},
	} {
		if got := inOrder(c.came, said); got != c.want {
			t.Errorf("%v: %v", c.came, got)
		}
	}
}
