package deliver

import "time"

// SlotLength is how exactly the calendar keeps time: nothing comes up earlier
// than it should, nor later by more than this and the time until the next look.
const SlotLength = 100 * time.Millisecond

// wheel says who is to be looked at when. An entry costs its lane or gateway
// nothing but a place on a page: there is no timer for it.
type wheel struct {
	began time.Time
	slots map[int64]*wheelSlot
	done  int64 // pages below this one were taken
}

// wheelSlot is what comes up within one pageLength.
type wheelSlot struct {
	lanes queue // whose own next try comes
	gates []*gateway
}

func newWheel(now time.Time) wheel {
	return wheel{began: now, slots: map[int64]*wheelSlot{}}
}

// at returns the page for a point in time, which is the next one to be taken if
// that has passed.
func (c *wheel) at(when time.Time) *wheelSlot {
	n := max(int64((when.Sub(c.began)+SlotLength-1)/SlotLength), c.done)
	if c.slots[n] == nil {
		c.slots[n] = &wheelSlot{}
	}
	return c.slots[n]
}

// take returns the next page whose time has come, or nil.
func (c *wheel) take(now time.Time) *wheelSlot {
	for today := int64(now.Sub(c.began) / SlotLength); c.done <= today; {
		p := c.slots[c.done]
		delete(c.slots, c.done)
		if c.done++; p != nil {
			return p
		}
	}
	return nil
}
