package partition

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// Following is the state of a partition that this process follows.
type Following struct {
	Stage string
	Part  int
	// Waiting is how many messages the stream had beyond the newest received one, when
	// that was sent.
	Waiting uint64
	Open    int // messages that were handed out and are not done
	// Behind is how old the newest received message was when it arrived, if more waited. It
	// is 0 if none does, and without progress, of which Trouble has the reason.
	Behind time.Duration
	// Trouble is why there is no progress although there is work, or "".
	Trouble string
}

// behindFor is how long it counts how old a message was when it was received.
const behindFor = 2 * time.Second

// behind is how far a follower is behind its stream, see [Following]. The follower's
// goroutine updates it, others read it.
type behind struct {
	receivedAt atomic.Int64 // of the newest message, Unix nanoseconds
	by         atomic.Int64 // its age then, or 0 if no more waited
}

func (b *behind) received(stored time.Time, waits bool) {
	now, by := time.Now(), time.Duration(0)
	if waits {
		by = max(now.Sub(stored), 0)
	}
	b.receivedAt.Store(now.UnixNano())
	b.by.Store(int64(by))
}

func (b *behind) now(now time.Time) time.Duration {
	if now.Sub(time.Unix(0, b.receivedAt.Load())) > behindFor {
		return 0
	}
	return time.Duration(b.by.Load())
}

// Following returns the partitions that this process follows, in order.
func (g *Group) Following() []Following {
	var all []Following
	g.running.Range(func(key, _ any) bool {
		f := key.(*Follower)
		all = append(all, Following{Stage: f.stage.Name, Part: f.part, Waiting: f.waiting.Load(), Open: f.Open(), Behind: f.behind.now(time.Now()), Trouble: f.trouble()})
		return true
	})
	slices.SortFunc(all, func(a, b Following) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), a.Part-b.Part)
	})
	return all
}
