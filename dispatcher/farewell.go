package dispatcher

import "time"

// handOver is how long the work on a partition may take to end while another
// dispatcher waits for it. What is out for longer has been written down as
// lagging by then, or is: its outcome is nobody's to know (G2).
const handOver = patience * 3 / 4

// farewell is how long the end of a partition's work may wait for what is out:
// for a grace as long as nobody wants the partition, and then for handOver.
type farewell struct {
	grace  time.Duration
	wanted <-chan struct{} // closed when another dispatcher waits for the partition
}

// waitUntil looks every few milliseconds whether done says true, for as long as
// the farewell may take.
func (f farewell) waitUntil(done func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(f.grace)
	defer limit.Stop()
	for wanted := f.wanted; !done(); {
		select {
		case <-tick.C:
		case <-wanted:
			limit.Reset(min(f.grace, handOver))
			wanted = nil
		case <-limit.C:
			return done()
		}
	}
	return true
}
