package dispatcher

import "time"

// pageLength is how exactly the calendar keeps time: nothing comes up earlier
// than it should, nor later by more than this and the time until the next look.
const pageLength = 100 * time.Millisecond

// calendar says who is to be looked at when. An entry costs its lane or gateway
// nothing but a place on a page: there is no timer for it.
type calendar struct {
	began time.Time
	pages map[int64]*page
	done  int64 // pages below this one were taken
}

// page is what comes up within one pageLength.
type page struct {
	lanes line // whose own next try comes
	gates []*gateway
}

func newCalendar(now time.Time) calendar {
	return calendar{began: now, pages: map[int64]*page{}}
}

// at returns the page for a point in time, which is the next one to be taken if
// that has passed.
func (c *calendar) at(when time.Time) *page {
	n := max(int64((when.Sub(c.began)+pageLength-1)/pageLength), c.done)
	if c.pages[n] == nil {
		c.pages[n] = &page{}
	}
	return c.pages[n]
}

// take returns the next page whose time has come, or nil.
func (c *calendar) take(now time.Time) *page {
	for today := int64(now.Sub(c.began) / pageLength); c.done <= today; {
		p := c.pages[c.done]
		delete(c.pages, c.done)
		if c.done++; p != nil {
			return p
		}
	}
	return nil
}
