package deliver

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"poked/dispatcher/directory"
	"poked/events"
	"poked/events/stream"
)

const (
	catchUpLanes = 64 // lanes for which the log is read in one request
	readingLimit = 32 // notifications that a lane keeps at most while it catches up
)

// catchUpReader reads the log for the lanes of one partition that lag and have a place at
// their gateway: in one request for all that wait, which costs little more than for one. A
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
	select {
	case c.some <- struct{}{}:
	default:
	}
}

func (c *catchUpReader) run(ctx context.Context) {
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
	waiting       int    // how many they are, or notCounted
	thinTo        uint64 // up to here only the newest of each room is sent
	cleared       int    // how often something had been removed from the log
}

// reading is what a lane sends in one turn.
type reading struct {
	items      []logItem
	end        uint64 // the lane's position once all of them are sent
	thinTo     uint64
	passedOver int // not read because the same room has newer ones
}

// logItem is a notification read from the log.
type logItem struct {
	seq  uint64
	room events.RoomID
	n    events.Notification
}

// read reads the log for each of the lanes, from its position.
func (c *catchUpReader) read(ctx context.Context, lanes []*lane) {
	asks := c.asks(lanes)
	users := make([]events.UserID, 0, len(asks))
	asOf := uint64(0)
	for _, a := range asks {
		users, asOf = append(users, a.user), max(asOf, a.target)
	}
	if len(users) == 0 {
		return
	}
	newest, err := c.d.Conn.NewestInRooms(ctx, users, asOf)
	for _, a := range asks {
		var p reading
		lerr := err
		if lerr == nil {
			lerr = c.d.learnUnread(ctx, a.user)
		}
		if lerr == nil {
			p, lerr = c.readOn(ctx, a, newest[a.user])
		}
		c.give(a, p, lerr)
	}
}

func (c *catchUpReader) asks(lanes []*lane) []ask {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	asks := make([]ask, 0, len(lanes))
	for _, l := range lanes {
		if g := l.lag; g != nil && !l.gone && !c.d.closing {
			asks = append(asks, ask{l, g, l.pusher, l.pusher.User, g.position, g.target, g.waiting, g.thinTo, g.cleared})
		}
	}
	return asks
}

// give hands a lane its reading, unless the lane changed meanwhile.
func (c *catchUpReader) give(a ask, p reading, err error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	g := a.lag
	if a.lane.lag != g || a.lane.pusher != a.pusher || g.position != a.after || g.cleared != a.cleared {
		return // what was read is outdated; the lane asks again if it needs to
	}
	if err != nil {
		c.d.Log.Warn("log not read, trying again", "user_id", a.user, "pusher", a.lane.pusher.ID, "error", err)
		g.unreadable = true
		return
	}
	g.items, g.end, g.thinTo, g.read = p.items, p.end, p.thinTo, true
	if p.passedOver > 0 {
		g.waiting, g.counted = notCounted, false
		g.passedOver += uint64(p.passedOver)
		g.settle(&c.d.Counts.accounting, FatePassedOver, p.passedOver)
	}
}

// readOn reads what a lane is to send next. newest holds the newest notification of each
// thread of each of its user's rooms.
func (c *catchUpReader) readOn(ctx context.Context, a ask, newest []stream.LoggedNotification) (reading, error) {
	if a.after >= a.target {
		return newReading(nil, a.target, a.thinTo), nil // only the badge is left
	}
	// What lies beyond the target arrives live. A room whose newest notification does is
	// read all the same, for the ones before it.
	rooms := newest[len(upTo(newest, a.after)):] // others of the user's pushers look at the same list
	limit := a.target
	if a.thinTo > a.after {
		limit = min(limit, a.thinTo)
	}
	if a.thinTo > a.after {
		last, err := c.newestHeard(ctx, a, rooms, limit)
		return newReading(last, limit, a.thinTo), err
	}
	if last := upTo(rooms, limit); a.waiting == len(last) {
		return newReading(last, limit, a.thinTo), nil
	}
	all, total, err := c.readRooms(ctx, a, rooms)
	switch {
	case err != nil:
		return reading{}, err
	case total > c.limit:
		last, err := c.newestHeard(ctx, a, rooms, a.target)
		p := newReading(last, a.target, a.target)
		p.passedOver = total - len(last)
		return p, err
	}
	return newReading(all, a.target, 0), nil
}

// upTo returns the part of an ordered list up to a sequence.
func upTo(list []stream.LoggedNotification, seq uint64) []stream.LoggedNotification {
	n, _ := slices.BinarySearchFunc(list, seq+1, func(n stream.LoggedNotification, seq uint64) int {
		return cmp.Compare(n.Seq, seq)
	})
	return list[:n]
}

// readRooms reads a user's notifications of each of the rooms since the lane's position, in
// order, and counts them. Beyond the limit it only counts.
func (c *catchUpReader) readRooms(ctx context.Context, a ask, rooms []stream.LoggedNotification) (all []stream.LoggedNotification, total int, err error) {
	for _, newest := range rooms {
		inRoom, more, err := c.d.Conn.NotificationsInRoom(ctx, newest, a.after, max(c.limit+1-len(all), 1))
		if err != nil {
			return nil, 0, err
		}
		inRoom = upTo(inRoom, a.target)
		all = append(all, inRoom...)
		total += len(inRoom) + more
	}
	slices.SortFunc(all, func(x, y stream.LoggedNotification) int { return cmp.Compare(x.Seq, y.Seq) })
	return all, total, nil
}

// newestHeard returns, for each room, the newest notification up to a sequence that is for
// the lane's pusher. A room has none if a newer one beyond that sequence, in any of its
// threads, is for the pusher too: that one will be sent.
func (c *catchUpReader) newestHeard(ctx context.Context, a ask, threads []stream.LoggedNotification, limit uint64) ([]stream.LoggedNotification, error) {
	byRoom := map[events.RoomID]stream.LoggedNotification{}
	for _, newest := range threads {
		ok, err := a.hears(newest), error(nil)
		if !ok {
			newest, ok, err = c.lastHeard(ctx, a, newest, limit)
		}
		if err != nil {
			return nil, err
		}
		if ok && newest.Seq > byRoom[newest.Room].Seq {
			byRoom[newest.Room] = newest
		}
	}
	heard := slices.Collect(maps.Values(byRoom))
	slices.SortFunc(heard, func(x, y stream.LoggedNotification) int { return cmp.Compare(x.Seq, y.Seq) })
	return upTo(heard, limit), nil
}

// lastHeard returns the last notification of a room that is for the lane's pusher, after
// the lane's position and up to a sequence. newest is the room's newest.
func (c *catchUpReader) lastHeard(ctx context.Context, a ask, newest stream.LoggedNotification, limit uint64) (last stream.LoggedNotification, ok bool, err error) {
	for after := a.after; ; {
		page, more, err := c.d.Conn.NotificationsInRoom(ctx, newest, after, readingLimit)
		if err != nil {
			return last, false, err
		}
		for _, n := range upTo(page, limit) {
			if a.hears(n) {
				last, ok = n, true
			}
		}
		if more == 0 || len(page) == 0 || page[len(page)-1].Seq >= limit {
			return last, ok, nil
		}
		after = page[len(page)-1].Seq
	}
}

// hears reports whether a notification can be read and is for the lane's pusher.
func (a *ask) hears(logged stream.LoggedNotification) bool {
	n, err := events.ParseNotification(logged.Data)
	return err == nil && a.pusher.Wants(&n)
}

// newReading returns a reading of as many notifications as a lane may keep. end is the
// sequence up to which the list is complete.
func newReading(list []stream.LoggedNotification, end, thinTo uint64) reading {
	p := reading{end: end, thinTo: thinTo}
	if len(list) > readingLimit {
		list = list[:readingLimit]
		p.end = list[readingLimit-1].Seq
	}
	for _, logged := range list {
		n, err := events.ParseNotification(logged.Data)
		if err != nil {
			continue // it became a dead letter when it arrived
		}
		p.items = append(p.items, logItem{seq: logged.Seq, room: logged.Room, n: n})
	}
	return p
}
