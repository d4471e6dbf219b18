package deliver

import (
	"context"
	"runtime"
	"time"

	"poked/events/wait"
)

// ownDelay is how late this process runs what is due, because its processor time is short:
// by so much it reads an answer later than the gateway sent it. What a request takes is
// measured without it, so that a gateway is never slow, overloaded or down because this
// process is. The mutex of the gateways guards it.
//
// A clock that runs every delayInterval while requests are in flight measures it. It waits in
// the same queues as a goroutine whose answer has arrived.
type ownDelay struct {
	measured bool      // MeasureDelay runs
	due      time.Time // when the clock runs next; zero while it stands
	late     []delayed // in order of time, each longer than all after it
	starts   chan struct{}
}

// delayed is how late the clock ran.
type delayed struct {
	at time.Time // when it ran
	by time.Duration
}

const (
	// delayInterval is the interval of the clock: a delay is noticed with this precision.
	delayInterval = 20 * time.Millisecond
	// delayNoise is the delay below which none is recorded.
	delayNoise = 5 * time.Millisecond
	// delaysKept bounds the delays that are remembered.
	delaysKept = 64
)

// begin starts the clock with the first request in flight.
func (o *ownDelay) begin(now time.Time) {
	if !o.measured || !o.due.IsZero() {
		return
	}
	o.due = now.Add(delayInterval)
	wait.Wake(o.starts)
}

// ran records that the clock ran.
func (o *ownDelay) ran(now time.Time) {
	by := now.Sub(o.due)
	if by < delayNoise {
		return
	}
	n := len(o.late)
	for n > 0 && o.late[n-1].by <= by {
		n--
	}
	o.late = append(o.late[:n], delayed{at: now, by: by})
	if len(o.late) > delaysKept {
		o.late = append(o.late[:0], o.late[1:]...)
	}
}

// since returns the longest delay since a time, as far as it lies after that time. A delay
// that is not over counts.
func (o *ownDelay) since(began, now time.Time) (longest time.Duration) {
	if !o.due.IsZero() {
		longest = min(max(now.Sub(o.due), 0), now.Sub(began))
	}
	for i := len(o.late) - 1; i >= 0 && o.late[i].at.After(began); i-- {
		longest = max(longest, min(o.late[i].by, o.late[i].at.Sub(began)))
	}
	return longest
}

// MeasureDelay runs the clock that tells the delay of this process from that of gateways,
// until ctx ends: every delayInterval, or many times in each tick of the followers if that is
// longer.
func (gs *Gateways) MeasureDelay(ctx context.Context, tickInterval time.Duration) {
	interval := max(delayInterval, tickInterval/20)
	gs.measures(true)
	defer gs.measures(false)
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-gs.delay.starts:
		}
		for gs.clockRuns(interval) {
			timer.Reset(interval)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			runtime.Gosched() // a timer's goroutine is preferred: wait as long as the others
		}
	}
}

// delayShown is how long a delay is shown to operators.
const delayShown = 10 * time.Second

// OwnDelay returns how late this process runs what is due: the longest delay of the last
// moments, as far as requests were in flight.
func (gs *Gateways) OwnDelay() time.Duration {
	now := time.Now()
	gs.mu.Lock()
	defer gs.mu.Unlock()
	return gs.delay.since(now.Add(-delayShown), now)
}

// measures records whether the clock is there.
func (gs *Gateways) measures(measured bool) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.delay.measured, gs.delay.due = measured, time.Time{}
}

// clockRuns records the delay of the clock, and reports whether it runs on.
func (gs *Gateways) clockRuns(interval time.Duration) bool {
	now := time.Now()
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.delay.ran(now)
	if gs.out.n == 0 && gs.late == 0 {
		gs.delay.due = time.Time{}
		return false
	}
	gs.delay.due = now.Add(interval)
	return true
}
