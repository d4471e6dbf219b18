package eventstest

import (
	"sync"
	"sync/atomic"
	"time"
	_ "unsafe" // for linkname
)

// nats-server computes the age of messages from a process-wide clock: a variable that
// one goroutine updates. That goroutine would have to run outside every bubble, where
// the time is decades later, and every message with a time to live would expire at
// once. So the goroutine is never started, and each server's test updates the variable
// with the time of its bubble.

//go:linkname accessTime github.com/nats-io/nats-server/v2/server/ats.utime
var accessTime atomic.Int64 //nolint:gochecknoglobals // nats-server's

//go:linkname accessTimeUsers github.com/nats-io/nats-server/v2/server/ats.refs
var accessTimeUsers atomic.Int64 //nolint:gochecknoglobals // nats-server's

// Prepare makes a test process ready for bubbles: it keeps nats-server from starting
// its process-wide clock, whose goroutine no bubble could wait for, and the race
// detector from crashing.
func Prepare() {
	accessTimeUsers.Add(1)
	oneAtATime()
}

// runClock sets nats-server's clock until stop is called.
func runClock() (stop func()) {
	accessTime.Store(time.Now().UnixNano())
	tick := time.NewTicker(time.Second / 4)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case now := <-tick.C:
				accessTime.Store(now.UnixNano())
			case <-end:
				tick.Stop()
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(end)
		<-ended
	})
}
