// Package deliver sends notifications to push gateways: it follows partitions of
// NOTIFICATIONS, removes what was read, counts what was not, and gives each notification
// to the lanes of its user's pushers.
//
//	NOTIFICATIONS ──▶ Deliverer ──▶ lane ──▶ Gateways ──▶ delivery slot ──▶ POST ──▶ outcome
//	                                 │ lags                                            │
//	                                 ├──▶ BACKLOG ◀── settle ◀─────────────────────────┘
//	                                 └──▶ catch-up reader ──▶ the log, from the lane's position
//
// A pusher has a lane, and a lane at most one poke in flight, so a pusher receives its
// user's notifications in the order of the log (G3). A lane whose poke fails or hangs, or
// that has more to send than a lane may keep, lags: its position goes to BACKLOG, its queue
// is dropped, and later notifications cost it nothing (G7). When its gateway has room for
// it again it reads on from the position.
//
// # Gateways
//
// All lanes of a gateway share its concurrency limit, which grows while the gateway answers
// well and shrinks when it is overloaded; its circuit breaker, which opens after three
// failures in a row and then lets one probe through at a time; and its pause
// (Retry-After). Waiting lanes cost a few bytes and no timer, and take none of the delivery
// slots of other gateways (G4). Retries use exponential backoff with full jitter.
//
// # What fails, and how
//
//	gateway fails, or hangs     the lane lags; others do not notice (G4)
//	gateway is back             the next probe finds out (G5); what expired is a dead letter
//	pusher not heard of yet     its notifications stay open until it is (G1)
//	read not removed            the partition waits: what comes after must not overtake it
//	badge not sent              the lane lags, and its record says that a badge is due
//	backlog not stored          the notification stays open, and the record is written again
//	backlog is another's        the partition's work ends: another worker owns it (fence)
//	lease not renewed in time   nothing begins and nothing is written until it is
//	killed at any point         the successor reads positions and BACKLOG; what was in flight is sent again (G2)
//
// Lock order: a deliverer's mutex before that of the gateways, never the other way round.
// Nothing is published under either.
//
// Deliver imports no room: a notification says all that a poke needs.
package deliver

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/partition"
	"poked/events/stream"
	"poked/events/wait"
)

// Patience is how long an attempt may take before its lane is written down as
// lagging, so that the notification need not stay open for it, nor for those who
// wait at a gateway that hangs as a whole. It bounds how long a partition can
// be held up by a gateway, and how much a crash makes unknown.
const Patience = time.Second

// Deliverer works through one partition of NOTIFICATIONS: it removes what is read,
// counts what is not and tells every notification to its user's pushers. The follower's
// goroutine hands it notifications, slots bring back outcomes, the directory
// tells of changed pushers; a mutex guards what they share.
type Deliverer struct {
	Config

	follower      *partition.Follower
	catchUpReader *catchUpReader
	fresh         bool // nobody had anything unread when the work began

	// late is the users whose pushers match knows better than we do. The follower's
	// goroutine owns it.
	late      map[events.UserID]*late
	askLateAt time.Time

	mu      sync.Mutex
	people  map[events.UserID]*recipient
	busy    map[*lane]struct{}        // lanes with something in their queue
	ending  map[events.PusherID]*lane // lanes of removed pushers whose record is still to be deleted
	backlog backlogWriter
	due     map[events.UserID]*pendingBadge // whose count has changed, and is to be told soon
	closing bool                            // nothing new is begun
	ended   bool                            // nothing is stored any more: the partition may be another worker's
	out     int                             // attempts that are being made
}

// recipient is a user with pushers.
type recipient struct {
	lanes    []*lane
	unread   unreadCount
	activeAt time.Time // when the user read something last
}

// Config is what the deliverers of all partitions of a dispatcher share.
type Config struct {
	Conn          *stream.Conn
	Worker        string // under whose name records are written
	Directory     *directory.Directory
	Gates         *Gateways
	Client        *poke.Client
	Counts        *Counters
	PokeTTL       time.Duration // age at which an undelivered poke becomes a dead letter
	Badge         BadgeOf
	DelayIfActive time.Duration // how long a poke waits while its user reads elsewhere; 0 is off
	CatchUpLimit  int           // notifications waiting for a pusher beyond which only the newest of each room is sent
	Log           *slog.Logger
}

// New returns the deliverer of a partition. It does nothing until start.
func New(cfg Config) *Deliverer {
	d := &Deliverer{
		Config: cfg,
		people: map[events.UserID]*recipient{}, ending: map[events.PusherID]*lane{},
		late: map[events.UserID]*late{},
		busy: map[*lane]struct{}{}, due: map[events.UserID]*pendingBadge{},
	}
	d.catchUpReader = newCatchUpReader(d, cfg.CatchUpLimit)
	d.backlog = newBacklogWriter(d)
	return d
}

// Start begins to catch up and to write records, for lanes that come. stop ends that,
// and everything else that goes on in the partition.
func (d *Deliverer) Start() (stop func()) {
	stopReading, stopWriting := d.catchUpReader.start(), d.backlog.start()
	return func() {
		d.end()
		stopReading()
		stopWriting()
	}
}

// Prepare takes over the partition from the worker that had it before.
func (d *Deliverer) Prepare(ctx context.Context, f *partition.Follower, part int) error {
	lagging, err := d.Conn.LoadBacklog(ctx, part)
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

// Run follows the partition until ctx ends, and then waits for pokes that are out, for
// as long as drain allows.
func (d *Deliverer) Run(ctx context.Context, drain wait.Drain) error {
	return d.follower.Run(ctx, d.handler(), func() { d.finish(drain) })
}

func (d *Deliverer) handler() partition.Handler {
	return partition.Handler{Handle: d.handle, Tick: d.tick, Lease: d.Gates.lease}
}

// handle takes the next message of the partition.
func (d *Deliverer) handle(ctx context.Context, msg partition.Message) {
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
func (d *Deliverer) take(ctx context.Context, msg partition.Message, s events.LogSubject) {
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
func (d *Deliverer) notified(ctx context.Context, msg partition.Message, s events.LogSubject) {
	n, err := events.ParseNotification(msg.Data)
	if err != nil {
		d.bury(msg, err)
		return
	}
	if !d.Directory.Has(s.User) {
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
func (d *Deliverer) bury(msg partition.Message, reason error) {
	d.Counts.skipped.Add(1)
	d.Log.Warn("unreadable notification skipped", "seq", msg.Seq, "error", reason)
	d.follower.Bury(msg, events.DeadBadNotification, reason)
}

func (d *Deliverer) waiting(err error) { d.Log.Warn("deliver waits for nats", "error", err) }

// release takes back one reason to keep an item open.
func (d *Deliverer) release(it *item) {
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
func (d *Deliverer) recipient(user events.UserID) *recipient {
	r := d.people[user]
	if r == nil {
		r = &recipient{unread: unreadCount{learned: time.Now()}}
		if r.assign(d, d.Directory.Pushers(user)); len(r.lanes) > 0 {
			d.people[user] = r
		}
	}
	return r
}

// assign gives each pusher its lane: kept, made, or ended.
func (r *recipient) assign(d *Deliverer, pushers []*directory.Pusher) {
	old := r.lanes
	r.lanes = make([]*lane, 0, len(pushers))
	kept := map[*lane]bool{}
	for _, p := range pushers {
		l := findLane(old, p.ID)
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
func (d *Deliverer) newLane(p *directory.Pusher) *lane {
	if l := d.ending[p.ID]; l != nil {
		delete(d.ending, p.ID)
		l.gone, l.refused, l.restoredTo = false, nil, 0
		return l
	}
	return &lane{d: d, pusher: p}
}

func findLane(lanes []*lane, id events.PusherID) *lane {
	for _, l := range lanes {
		if l.pusher.ID == id {
			return l
		}
	}
	return nil
}

// PushersChanged takes in that a user's pushers were set, removed or replaced.
func (d *Deliverer) PushersChanged(user events.UserID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.people[user]
	if r == nil {
		return // nobody has asked for them yet
	}
	pushers := d.Directory.Pushers(user)
	r.assign(d, pushers)
	if len(pushers) == 0 {
		delete(d.people, user)
		d.fresh = false
	}
}

// find fills in whose the pushers are whose records could not be read: they lag from
// the beginning of their user's log. The record of one that nobody has any more goes.
func (d *Deliverer) find(part int, lagging map[events.PusherID]events.Backlog) {
	lost := map[events.PusherID]events.UserID{}
	for id, b := range lagging {
		if b.Lost {
			lost[id] = ""
		}
	}
	if len(lost) == 0 {
		return
	}
	d.Directory.Find(part, lost)
	for id, user := range lost {
		b := lagging[id]
		if user != "" {
			lagging[id] = events.Backlog{UserID: user, Since: time.Now(), LastError: poke.ClassRecord.String(), Revision: b.Revision}
			continue
		}
		delete(lagging, id)
		d.Conn.DropBacklog(part, id, b.Revision, func(err error) {
			if err != nil {
				d.Log.Warn("unreadable record of a pusher that is gone not deleted", "pusher", id, "error", err)
			}
		})
	}
}

// restore puts back the lanes that lagged when the last worker stopped. What
// lies beyond its cursor comes by live, from the follower.
func (d *Deliverer) restore(f *partition.Follower, lagging map[events.PusherID]events.Backlog) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.follower, d.fresh = f, f.Fresh()
	for id, b := range lagging {
		l := findLane(d.recipient(b.UserID).lanes, id)
		if l == nil { // its pusher went while nobody was looking
			l = &lane{d: d, pusher: &directory.Pusher{ID: id, User: b.UserID}, gone: true}
			l.record.entry = d.record(l.pusher, b.Revision)
			d.ending[id] = l // the pusher may be set again before it is deleted
			l.save()
			continue
		}
		l.restoredTo = d.follower.Cursor()
		if latest := time.Now().Add(poke.SlowLimit); b.NextTry.After(latest) {
			b.NextTry = latest // the clock of who wrote it is ahead
		}
		l.record.entry, l.record.covers = d.record(l.pusher, b.Revision), true
		l.lag = &lag{
			position: b.Position, target: d.follower.Cursor(), attempts: b.Attempts, alone: b.Alone,
			since: b.Since, nextTry: b.NextTry, failure: poke.ParseFailure(b.LastError),
			passedOver: b.PassedOver, waiting: notCounted, badge: b.Badge,
		}
		l.lagsAt(l.pusher.Origin())
		d.Gates.restored(l.lag.gate, b.Since, b.PausedUntil)
		d.Gates.sleep(l, b.NextTry)
		l.save() // at a revision that a predecessor, should it live, does not know
	}
}

// tick writes down the lanes whose gateway keeps them waiting, and what could
// not be written before.
func (d *Deliverer) tick(ctx context.Context, now time.Time) {

	d.askLate(ctx, now)
	d.takeLate(ctx)
	d.sendBadges(ctx, now)
	d.mu.Lock()
	defer d.mu.Unlock()
	for l, why := range d.Gates.stuck(d.busy, now) {
		l.fallBehind(now, poke.Because(why))
		l.save()
	}
	d.backlog.again()
}

// finish ends the work: what is out may come back, for as long as drain allows.
func (d *Deliverer) finish(drain wait.Drain) {
	d.sendLastBadges()
	d.close()
	var out int
	settled := drain.Until(func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		out = d.out
		return d.out == 0 && d.backlog.idle()
	})
	if !settled {
		d.Log.Warn("ending with pokes out, their outcome stays unknown", "out", out)
	}
}

// close begins nothing new. Who still waits for a turn is written down, so that
// a notification which others of its user were told is not told to them again.
func (d *Deliverer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = true
	for l := range d.busy {
		l.fallBehind(time.Now(), poke.Because(poke.ClassStopped))
		l.save()
	}
	d.backlog.again()
}

// end has nothing happen any more, whatever is still out.
func (d *Deliverer) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing, d.ended = true, true
}

// Release has no lane stand anywhere any more, nor count as lagging: they are
// another worker's. One whose attempt is out has nothing to tell when it is back.
func (d *Deliverer) Release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.people {
		for _, l := range r.lanes {
			l.gone = true
			l.settleAll(&d.Counts.accounting.released)
			l.withdraw()
			l.dropLag()
			l.queue = nil
		}
	}
	clear(d.people)
	clear(d.busy)
}
