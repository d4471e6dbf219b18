package stream

import (
	"context"
	"sync"
	"time"
)

// logBeginFor is how long the beginning of a log counts as known. It moves by days.
const logBeginFor = time.Minute

// logBegin is where a stream of NOTIFICATIONS began when that was asked last.
type logBegin struct {
	mu      sync.Mutex
	seq     uint64
	askedAt time.Time
}

// LogBegin returns the first sequence that NOTIFICATIONS still has of a partition, or a lower
// one: what is older has expired.
func (c *Conn) LogBegin(ctx context.Context, part int) (uint64, error) {
	stream, err := c.LookUp(ctx, c.topology.StreamOf(Notifications, part))
	if err != nil {
		return 0, err
	}
	known := &c.logBegin[c.topology.number(part)]
	known.mu.Lock()
	defer known.mu.Unlock()
	known.seq, known.askedAt = stream.CachedInfo().State.FirstSeq, time.Now()
	return known.seq, nil
}

// LogBeginLately is LogBegin as it was at most a minute ago: it asks once for all partitions
// of a stream.
func (c *Conn) LogBeginLately(ctx context.Context, part int) (uint64, error) {
	known := &c.logBegin[c.topology.number(part)]
	known.mu.Lock()
	seq, isOld := known.seq, time.Since(known.askedAt) > logBeginFor
	if isOld {
		known.askedAt = time.Now() // the others do not ask meanwhile
	}
	known.mu.Unlock()
	if !isOld {
		return seq, nil
	}
	seq, err := c.LogBegin(ctx, part)
	if err != nil {
		known.mu.Lock()
		known.askedAt = time.Time{}
		known.mu.Unlock()
	}
	return seq, err
}
