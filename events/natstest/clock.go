package natstest

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

// statsInterval is how often a server reports its load on a subject of its own, for which it
// reads files of the system. Nobody listens, and a bubble may play days.
//
//go:linkname statsInterval github.com/nats-io/nats-server/v2/server.statsHBInterval
var statsInterval time.Duration //nolint:gochecknoglobals // nats-server's

// fakeClock keeps nats-server from starting its clock, and from reporting its load.
func fakeClock() {
	accessTimeUsers.Add(1)
	statsInterval = 24 * time.Hour
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
