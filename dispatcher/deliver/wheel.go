package deliver

import "time"

// SlotLength is the resolution of the timer wheel: nothing is due early, nor later by more
// than this and the time until the next look.
const SlotLength = 100 * time.Millisecond

// wheel is a timer wheel: it holds what is due when, without a timer for each lane or
// gateway.
type wheel struct {
	began time.Time
	slots map[int64]*wheelSlot
	done  int64 // slots below this one were taken
}

// wheelSlot is what is due within one SlotLength.
type wheelSlot struct {
	lanes queue // whose own next try is due
	gates []*gateway
}

func newWheel(now time.Time) wheel {
	return wheel{began: now, slots: map[int64]*wheelSlot{}}
}

// at returns the slot of a point in time, or the next one to be taken if that has passed.
func (c *wheel) at(when time.Time) *wheelSlot {
	n := max(int64((when.Sub(c.began)+SlotLength-1)/SlotLength), c.done)
	if c.slots[n] == nil {
		c.slots[n] = &wheelSlot{}
	}
	return c.slots[n]
}

// take returns the next slot that is due, or nil.
func (c *wheel) take(now time.Time) *wheelSlot {
	for current := int64(now.Sub(c.began) / SlotLength); c.done <= current; {
		p := c.slots[c.done]
		delete(c.slots, c.done)
		if c.done++; p != nil {
			return p
		}
	}
	return nil
}
