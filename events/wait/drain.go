package wait

import "time"

// drainLook is how often a drain checks for outstanding work.
const drainLook = 5 * time.Millisecond

// Drain limits how long work that ends waits for what it has begun: Grace in general, and
// Hurry once another worker wants to take over.
type Drain struct {
	Grace, Hurry time.Duration
	Wanted       <-chan struct{} // closed when another worker waits; may be nil
}

// Until checks every few milliseconds whether done returns true, for as long as the drain
// allows, and returns the last result of done.
func (d Drain) Until(done func() bool) bool {
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	limit := time.NewTimer(d.Grace)
	defer limit.Stop()
	for wanted := d.Wanted; !done(); {
		select {
		case <-tick.C:
		case <-wanted:
			limit.Reset(min(d.Grace, d.Hurry))
			wanted = nil
		case <-limit.C:
			return done()
		}
	}
	return true
}
