package dispatcher

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"poked/events"
	"poked/events/wait"
)

// patience is how long an attempt may take before its lane is written down as
// lagging, so that the notification need not stay open for it, nor for those who
// wait at a gateway that hangs as a whole. It bounds how long a partition can
// be held up by a gateway, and how much a crash makes unknown.
const patience = time.Second

// deliverer works through one partition of NOTIFICATIONS: it removes what is read,
// counts what is not and tells every notification to its user's pushers. The follower's
// goroutine hands it notifications, slots bring back outcomes, the directory
// tells of changed pushers; a mutex guards what they share.
type deliverer struct {
	deliverConfig

	follower *events.Follower
	catcher  *catcher
	fresh    bool // nobody had anything unread when the work began

	// late is the users whose pushers match knows better than we do. The follower's
	// goroutine owns it.
	late      map[events.UserID]*late
	askLateAt time.Time

	mu      sync.Mutex
	people  map[events.UserID]*recipient
	busy    map[*lane]struct{}        // lanes with something in their queue
	ending  map[events.PusherID]*lane // lanes of removed pushers whose record is still to be deleted
	backlog backlogWriter
	owed    map[events.UserID]*debt // whose count has changed, and is to be told soon
	closing bool                    // nothing new is begun
	ended   bool                    // nothing is stored any more: the partition may be another worker's
	out     int                     // attempts that are being made
}

// recipient is a user with pushers.
type recipient struct {
	lanes    []*lane
	unread   unreadCount
	activeAt time.Time // when the user read something last
}

// deliverConfig is what the deliverers of all partitions of a dispatcher share.
type deliverConfig struct {
	conn          *events.Conn
	worker        string // under whose name records are written
	dir           *directory
	gates         *gateways
	client        *client
	counts        *counters
	ttl           time.Duration // age at which an undelivered poke becomes a dead letter
	badge         BadgeOf
	delayIfActive time.Duration // how long a poke waits while its user reads elsewhere; 0 is off
	catchUpLimit  int           // notifications waiting for a pusher beyond which only the newest of each room is sent
	log           *slog.Logger
}

// newDeliverer returns the deliverer of a partition. It does nothing until start.
func newDeliverer(cfg deliverConfig) *deliverer {
	d := &deliverer{
		deliverConfig: cfg,
		people:        map[events.UserID]*recipient{}, ending: map[events.PusherID]*lane{},
		late: map[events.UserID]*late{},
		busy: map[*lane]struct{}{}, owed: map[events.UserID]*debt{},
	}
	d.catcher = newCatcher(d, cfg.catchUpLimit)
	d.backlog = newBacklogWriter(d)
	return d
}

// start begins to catch up and to write records, for lanes that come. stop ends that,
// and everything else that goes on in the partition.
func (d *deliverer) start() (stop func()) {
	stopReading, stopWriting := d.catcher.start(), d.backlog.start()
	return func() {
		d.end()
		stopReading()
		stopWriting()
	}
}

// prepare takes over the partition from the worker that had it before.
func (d *deliverer) prepare(ctx context.Context, f *events.Follower, part int) error {
	lagging, err := d.conn.LoadBacklog(ctx, part)
	if err != nil {
		return err
	}
	d.find(part, lagging)
	if err := d.hearOf(ctx, lagging); err != nil {
		return err
	}
	d.restore(f, lagging)
	return nil
}

// run follows the partition until ctx ends, and then waits for pokes that are out, for
// as long as drain allows.
func (d *deliverer) run(ctx context.Context, drain wait.Drain) error {
	return d.follower.Run(ctx, d.handler(), func() { d.finish(drain) })
}

func (d *deliverer) handler() events.Handler {
	return events.Handler{Handle: d.handle, Tick: d.tick, Lease: d.gates.lease}
}

// handle takes the next message of the partition.
func (d *deliverer) handle(ctx context.Context, msg events.Message) {
	s, err := events.ParseLogSubject(msg.Subject)
	if err != nil {
		d.bury(msg, err)
		return
	}
	if !d.isLate(msg, s) {
		d.take(ctx, msg, s)
	}
}

// take works through a message of a user whose pushers are known.
func (d *deliverer) take(ctx context.Context, msg events.Message, s events.LogSubject) {
	switch s.Kind {
	case events.LogNotify:
		d.notified(ctx, msg, s)
	case events.LogRead:
		d.read(ctx, msg, s)
	case events.LogRedacted:
		d.redacted(ctx, msg, s)
	}
}

// notified hands a notification to its user's lanes.
func (d *deliverer) notified(ctx context.Context, msg events.Message, s events.LogSubject) {
	n, err := events.ParseNotification(msg.Data)
	if err != nil {
		d.bury(msg, err)
		return
	}
	if !d.dir.has(s.User) {
		d.notFresh()
		d.follower.Done(msg.Seq)
		return
	}
	it := &item{seq: msg.Seq, n: n, room: s.Room, waiting: 1}
	if d.count(ctx, s.User, it) != nil {
		return // ctx has ended; the message stays open
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.recipient(s.User)
	for _, l := range r.lanes {
		l.enqueue(it)
	}
	d.delay(r, &it.n, time.Now())
	d.release(it)
}

// bury passes a message that cannot be read.
func (d *deliverer) bury(msg events.Message, reason error) {
	d.counts.skipped.Add(1)
	d.log.Warn("unreadable notification skipped", "seq", msg.Seq, "error", reason)
	d.follower.Bury(msg, "bad_notification", reason)
}

func (d *deliverer) waiting(err error) { d.log.Warn("deliver waits for nats", "error", err) }

// release takes back one reason to keep an item open.
func (d *deliverer) release(it *item) {
	if it.waiting--; it.waiting > 0 {
		return
	}
	d.follower.Done(it.seq)
	for _, seq := range it.also {
		d.follower.Done(seq)
	}
}

// recipient returns the user's lanes, made on first sight. One without any, whose
// pushers went meanwhile, is not remembered.
func (d *deliverer) recipient(user events.UserID) *recipient {
	r := d.people[user]
	if r == nil {
		r = &recipient{unread: unreadCount{learned: time.Now()}}
		if r.assign(d, d.dir.pushers(user)); len(r.lanes) > 0 {
			d.people[user] = r
		}
	}
	return r
}

// assign gives each pusher its lane: kept, made, or ended.
func (r *recipient) assign(d *deliverer, pushers []*pusher) {
	old := r.lanes
	r.lanes = make([]*lane, 0, len(pushers))
	kept := map[*lane]bool{}
	for _, p := range pushers {
		l := findLane(old, p.id)
		if l == nil {
			l = d.newLane(p)
		}
		kept[l] = true
		l.set(p)
		r.lanes = append(r.lanes, l)
	}
	for _, l := range old {
		if !kept[l] {
			l.remove()
		}
	}
}

// newLane makes a lane for a pusher. One that is set again while the record of
// its last lane is still being deleted gets that lane back, so that the deletion
// and what follows it are written in order.
func (d *deliverer) newLane(p *pusher) *lane {
	if l := d.ending[p.id]; l != nil {
		delete(d.ending, p.id)
		l.gone, l.refused, l.restoredTo = false, nil, 0
		return l
	}
	return &lane{d: d, pusher: p}
}

func findLane(lanes []*lane, id events.PusherID) *lane {
	for _, l := range lanes {
		if l.pusher.id == id {
			return l
		}
	}
	return nil
}

// pushersChanged takes in that a user's pushers were set, removed or replaced.
func (d *deliverer) pushersChanged(user events.UserID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.people[user]
	if r == nil {
		return // nobody has asked for them yet
	}
	pushers := d.dir.pushers(user)
	r.assign(d, pushers)
	if len(pushers) == 0 {
		delete(d.people, user)
		d.fresh = false
	}
}

// find fills in whose the pushers are whose records could not be read: they lag from
// the beginning of their user's log. The record of one that nobody has any more goes.
func (d *deliverer) find(part int, lagging map[events.PusherID]events.Backlog) {
	lost := map[events.PusherID]events.UserID{}
	for id, b := range lagging {
		if b.Lost {
			lost[id] = ""
		}
	}
	if len(lost) == 0 {
		return
	}
	d.dir.find(part, lost)
	for id, user := range lost {
		b := lagging[id]
		if user != "" {
			lagging[id] = events.Backlog{UserID: user, Since: time.Now(), LastError: classRecord, Revision: b.Revision}
			continue
		}
		delete(lagging, id)
		d.conn.DropBacklog(part, id, b.Revision, func(err error) {
			if err != nil {
				d.log.Warn("unreadable record of a pusher that is gone not deleted", "pusher", id, "error", err)
			}
		})
	}
}

// restore puts back the lanes that lagged when the last worker stopped. What
// lies beyond its cursor comes by live, from the follower.
func (d *deliverer) restore(f *events.Follower, lagging map[events.PusherID]events.Backlog) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.follower, d.fresh = f, f.Fresh()
	for id, b := range lagging {
		l := findLane(d.recipient(b.UserID).lanes, id)
		if l == nil { // its pusher went while nobody was looking
			l = &lane{d: d, pusher: &pusher{id: id, user: b.UserID}, gone: true}
			l.record.entry = d.record(l.pusher, b.Revision)
			d.ending[id] = l // the pusher may be set again before it is deleted
			l.save()
			continue
		}
		l.restoredTo = d.follower.Cursor()
		if latest := time.Now().Add(slowLimit); b.NextTry.After(latest) {
			b.NextTry = latest // the clock of who wrote it is ahead
		}
		l.record.entry, l.record.covers = d.record(l.pusher, b.Revision), true
		l.lag = &lag{
			position: b.Position, target: d.follower.Cursor(), attempts: b.Attempts, alone: b.Alone,
			since: b.Since, nextTry: b.NextTry, lastError: b.LastError,
			passedOver: b.PassedOver, waiting: notCounted, badge: b.Badge,
		}
		l.lagsAt(l.pusher.origin())
		d.gates.restored(l.lag.gate, b.Since, b.PausedUntil)
		d.gates.sleep(l, b.NextTry)
		l.save() // at a revision that a predecessor, should it live, does not know
	}
}

// tick writes down the lanes whose gateway keeps them waiting, and what could
// not be written before.
func (d *deliverer) tick(ctx context.Context, now time.Time) {

	d.askLate(ctx, now)
	d.takeLate(ctx)
	d.payBadges(ctx, now)
	d.mu.Lock()
	defer d.mu.Unlock()
	for l, why := range d.gates.stuck(d.busy, now) {
		l.fallBehind(now, why)
		l.save()
	}
	d.backlog.again()
}

// finish ends the work: what is out may come back, for as long as drain allows.
func (d *deliverer) finish(drain wait.Drain) {
	d.payLast()
	d.close()
	var out int
	settled := drain.Until(func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		out = d.out
		return d.out == 0 && d.backlog.idle()
	})
	if !settled {
		d.log.Warn("ending with pokes out, their outcome stays unknown", "out", out)
	}
}

// close begins nothing new. Who still waits for a turn is written down, so that
// a notification which others of its user were told is not told to them again.
func (d *deliverer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = true
	for l := range d.busy {
		l.fallBehind(time.Now(), "stopped")
		l.save()
	}
	d.backlog.again()
}

// end has nothing happen any more, whatever is still out.
func (d *deliverer) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing, d.ended = true, true
}

// abandon has no lane stand anywhere any more, nor count as lagging: they are
// another worker's. One whose attempt is out has nothing to tell when it is back.
func (d *deliverer) abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.people {
		for _, l := range r.lanes {
			l.gone = true
			l.strike(&d.counts.books.left)
			l.withdraw()
			l.dropLag()
			l.queue = nil
		}
	}
	clear(d.people)
	clear(d.busy)
}
