package bench

import (
	"context"
	"sync"
	"time"

	"poked/events/stream"
)

// heartbeatInterval is how often a dispatcher writes its heartbeat (package partition).
const heartbeatInterval = stream.WorkerTTL / 4

// heartbeatLook is how often watchHeartbeats looks.
const heartbeatLook = heartbeatInterval / 5

// heartbeats are those of the only dispatcher, as NATS stored them.
type heartbeats struct {
	Stored  int           `json:"stored"`
	Missed  int           `json:"missed"` // as many as would fit into a longer time between two
	Longest time.Duration `json:"longest_ns"`

	last time.Time
	seq  uint64
}

// note takes in the last heartbeat and its sequence. If there were others since the last
// call, they count as evenly spaced.
func (h *heartbeats) note(at time.Time, seq uint64) {
	if n := int(seq - h.seq); h.seq > 0 && n > 0 { //nolint:gosec // no bucket has that many
		pause := at.Sub(h.last) / time.Duration(n)
		h.Stored += n
		h.Missed += n * max(int((pause+heartbeatInterval/2)/heartbeatInterval)-1, 0)
		h.Longest = max(h.Longest, pause)
	}
	h.last, h.seq = at, seq
}

// watchHeartbeats watches the bucket of heartbeats until the caller calls stop.
func (w *world) watchHeartbeats(ctx context.Context, into *heartbeats) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { // ends with ctx
		tick := time.NewTicker(heartbeatLook)
		defer tick.Stop()
		for {
			if all, err := w.conn.AskStreams(ctx); err == nil { // else the next look finds them
				for _, s := range all {
					if s.Name == "KV_"+stream.BucketWorkers {
						into.note(s.LastTime, s.LastSeq)
					}
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		cancel()
		watching.Wait()
	}
}
