package eventstest

import (
	"sync/atomic"
	"testing"
	"time"
	_ "unsafe" // for linkname
)

// nats-server judges the age of messages by a clock of its own: a variable that
// one goroutine sets for the whole process. That goroutine would have to live
// outside every bubble, where it is decades later, and every message with a
// time to live would be gone at the first look. So nobody starts it here, and
// each server's test sets the variable by the time that the test lives in.

//go:linkname accessTime github.com/nats-io/nats-server/v2/server/ats.utime
var accessTime atomic.Int64 //nolint:gochecknoglobals // nats-server's

//go:linkname accessTimeUsers github.com/nats-io/nats-server/v2/server/ats.refs
var accessTimeUsers atomic.Int64 //nolint:gochecknoglobals // nats-server's

// Prepare makes a test process fit for bubbles: it keeps nats-server from starting
// its process-wide clock, whose goroutine no bubble could wait for, and the race
// detector from crashing.
func Prepare() {
	accessTimeUsers.Add(1)
	oneAtATime()
}

// runClock sets nats-server's clock until the test ends.
func runClock(t testing.TB) {
	accessTime.Store(time.Now().UnixNano())
	tick := time.NewTicker(time.Second / 4)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case now := <-tick.C:
				accessTime.Store(now.UnixNano())
			case <-stop:
				tick.Stop()
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
}
