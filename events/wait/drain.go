package wait

import "time"

// drainLook is how often a drain looks whether what is out has come back.
const drainLook = 5 * time.Millisecond

// Drain bounds how long the end of some work waits for what it has begun: for Grace as
// long as nobody else wants the work, and then for Hurry.
type Drain struct {
	Grace, Hurry time.Duration
	Wanted       <-chan struct{} // closed when somebody else waits for the work; nil if nobody ever does
}

// Until looks every few milliseconds whether done returns true, for as long as the drain
// allows, and returns what done said last.
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
