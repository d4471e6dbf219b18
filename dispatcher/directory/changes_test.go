package directory

import (
	"fmt"
	"testing"

	"poked/events"
)

func TestChangesAreRememberedForAWhile(t *testing.T) {
	var c changes
	for i := range changeMemory + 1 {
		c.add(events.UserID(fmt.Sprint(i)))
	}
	if c.remembers(0) || !c.remembers(1) || !c.remembers(c.count) {
		t.Error("the last changes are not remembered, or more than fit")
	}
	next := 1
	c.after(1, func(user events.UserID) {
		if user != events.UserID(fmt.Sprint(next)) {
			t.Fatalf("change %d is remembered as that of %s", next, user)
		}
		next++
	})
	if next != changeMemory+1 {
		t.Errorf("reported up to change %d", next)
	}
}
