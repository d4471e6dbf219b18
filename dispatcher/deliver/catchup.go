package deliver

import (
	"context"
	"slices"
	"sync"
	"time"

	"poked/dispatcher/directory"
	"poked/events"
	"poked/events/wait"
)

const (
	catchUpLanes = 64 // lanes for which the log is read at once
	readingLimit = 32 // notifications that a lane keeps at most while it catches up
)

// catchUpReader reads the log for the lanes of one partition that lag and have a place at
// their gateway. Where their notifications are is in the inboxes of their users; the newest
// messages are in memory, and the others are read by sequence, for all that wait at once. A
// lane keeps its place while the log is read, and until it has sent what was read, so no
// more of the log is in memory than is about to be sent.
type catchUpReader struct {
	d     *Deliverer
	limit int // notifications beyond which only the newest of each room is sent
	some  chan struct{}

	mu      sync.Mutex
	waiting []*lane
	ended   bool
}

func newCatchUpReader(d *Deliverer, limit int) *catchUpReader {
	return &catchUpReader{d: d, limit: limit, some: make(chan struct{}, 1)}
}

// start begins to read. stop ends that, waits for it, and resumes the lanes that still wait.
func (c *catchUpReader) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	reading.Go(func() { c.run(ctx) })
	return func() {
		cancel()
		reading.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended = true
		for _, l := range c.waiting {
			c.d.Gates.resume(l)
		}
	}
}

// want queues a lane whose log is to be read, before all others if it is urgent. After that
// the lane is ready for a delivery slot again.
func (c *catchUpReader) want(l *lane, urgent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		c.d.Gates.resume(l) // the lane sees that the work ends
		return
	}
	if urgent {
		c.waiting = slices.Insert(c.waiting, 0, l)
	} else {
		c.waiting = append(c.waiting, l)
	}
	wait.Wake(c.some)
}

func (c *catchUpReader) run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-c.d.replayed: // only now the inboxes hold all that the lanes may have to send
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.some:
		}
		for lanes := c.take(); len(lanes) > 0; lanes = c.take() {
			c.read(ctx, lanes)
			for _, l := range lanes {
				c.d.Gates.resume(l)
			}
		}
	}
}

func (c *catchUpReader) take() []*lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.waiting), catchUpLanes)
	lanes := slices.Clone(c.waiting[:n])
	c.waiting = slices.Delete(c.waiting, 0, n)
	return lanes
}

// ask is a lane's question: its user's notifications after one sequence and up to another.
type ask struct {
	lane          *lane
	lag           *lag
	pusher        *directory.Pusher
	user          events.UserID
	after, target uint64
	thinTo        uint64 // up to here only the newest of each room is sent
	olderTo       uint64 // up to here what is only a number was counted as passed over
	cleared       int    // how often something had been removed from the log
	passesOver    bool   // beyond the limit only the newest of each room is sent

	choice choice
	err    error
}

// choice is what a lane sends in one turn.
type choice struct {
	places     []placeIn
	end        uint64 // the lane's position once all of them are sent
	thinTo     uint64
	passedOver int // left out because the same room has newer ones, or because they are only a number
	olderTo    uint64
}

// logItem is a notification read from the log.
type logItem struct {
	seq  uint64
	room events.RoomID
	n    events.Notification
}

// read chooses for each of the lanes what it sends next, and reads that.
func (c *catchUpReader) read(ctx context.Context, lanes []*lane) {
	asks := c.asks(lanes)
	users := make([]events.UserID, len(asks))
	for i, a := range asks {
		users[i] = a.user
	}
	loaded := c.d.load(ctx, users...)
	var wanted []placeIn
	for _, a := range asks {
		if a.err = loaded; a.err == nil {
			a.choice, a.err = c.choose(ctx, a)
		}
		wanted = append(wanted, a.choice.places...)
	}
	read, err := c.d.fetch(ctx, wanted)
	for _, a := range asks {
		if a.err == nil {
			a.err = err
		}
		c.give(a, read)
	}
}

func (c *catchUpReader) asks(lanes []*lane) []*ask {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	asks := make([]*ask, 0, len(lanes))
	for _, l := range lanes {
		if g := l.lag; g != nil && !l.gone && !c.d.closing {
			asks = append(asks, &ask{
				lane: l, lag: g, pusher: l.pusher, user: l.pusher.User,
				after: g.position, target: g.target, thinTo: g.thinTo, olderTo: g.olderTo, cleared: g.cleared,
				passesOver: g.mayPassOver(time.Now()),
			})
		}
	}
	return asks
}

// give gives a lane what was read, unless the lane changed meanwhile.
func (c *catchUpReader) give(a *ask, read bodies) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	g := a.lag
	if a.lane.lag != g || a.lane.pusher != a.pusher || g.position != a.after || g.cleared != a.cleared {
		return // what was read is outdated; the lane asks again if it needs to
	}
	if a.err != nil {
		c.d.Log.Warn("log not read, trying again", "user_id", a.user, "pusher", a.lane.pusher.ID, "error", a.err)
		g.unreadable = true
		return
	}
	g.items = nil
	for _, p := range a.choice.places {
		if n := read.of(a.user, p); n != nil {
			g.items = append(g.items, logItem{seq: p.seq, room: p.room, n: *n})
		}
	}
	g.end, g.thinTo, g.readFor, g.read = a.choice.end, a.choice.thinTo, a.target, true
	if n := a.choice.passedOver; n > 0 {
		g.waiting, g.counted = notCounted, false
		g.olderTo = max(g.olderTo, a.choice.olderTo)
		g.passedOver += uint64(n)
		g.settle(&c.d.Counts.accounting, FatePassedOver, n)
	}
}

// bodies are messages of the log, by sequence.
type bodies map[uint64]*logged

// of returns the notification of a user at a place, or nil if the log does not hold it: it
// was removed, or the log has lost its end and has another message there.
func (b bodies) of(user events.UserID, p placeIn) *events.Notification {
	m := b[p.seq]
	if m == nil || m.n.RoomSeq != p.roomSeq || m.n.RoomID != p.room {
		return nil
	}
	return m.of(user)
}

// fetch returns messages of the log by their sequences: from memory, or from the log, each
// once for all who share it.
func (d *Deliverer) fetch(ctx context.Context, places []placeIn) (bodies, error) {
	found := make(bodies, len(places))
	var missing []uint64
	d.mu.Lock()
	for _, p := range places {
		if _, twice := found[p.seq]; twice {
			continue
		}
		m := d.recent.get(p.seq)
		if found[p.seq] = m; m == nil {
			missing = append(missing, p.seq)
			continue
		}
		m.index()
	}
	d.mu.Unlock()
	if len(missing) == 0 {
		return found, nil
	}
	read, err := d.Conn.Bodies(ctx, missing)
	if err != nil {
		return nil, err
	}
	for seq, raw := range read {
		if m, err := events.ParseLog(raw); err == nil && m.Notify != nil {
			found[seq] = newLogged(seq, m.Notify)
			found[seq].index()
		}
	}
	return found, nil
}
