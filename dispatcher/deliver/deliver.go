// Package deliver sends notifications to push gateways: it follows partitions of
// NOTIFICATIONS, removes what was read, counts what was not, and gives each notification
// to the lanes of its user's pushers.
//
//	NOTIFICATIONS ──▶ Deliverer ──▶ lane ──▶ Gateways ──▶ delivery slot ──▶ POST ──▶ outcome
//	                                 │ lags                                            │
//	                                 ├──▶ BACKLOG ◀── settle ◀─────────────────────────┘
//	                                 └──▶ catch-up reader ──▶ the inbox, and the log by sequence
//
// A pusher has a lane, and a lane at most one poke in flight, so a pusher receives its
// user's notifications in the order of the log (G3). A lane whose poke fails or hangs, or
// that has more to send than a lane may keep, lags: its position goes to BACKLOG, its queue
// is dropped, and later notifications cost it nothing (G7). When its gateway has room for
// it again it reads on from the position.
//
// # What is unread
//
// What a user has not read is their inbox, state of the owner of the partition: it applies
// each message of NOTIFICATIONS in order, and nothing is removed from the log but what was
// redacted. Inboxes are loaded from the bucket INBOX when a user is first touched, leave
// memory when they are not used (Config.Recent), and are stored every 10 to 15 s, so a
// successor reads the log since then once more (snapshots). Counts, what a read removes,
// what a lagging pusher has yet to receive, and GET /notifications come from them. The
// newest notifications themselves are in memory as well, and older ones are read by
// sequence, once for all who share them. So a lane that is a little behind costs no request,
// and one that is far behind costs one for each notification that it sends, whatever else
// the log holds (G12).
//
// # Gateways
//
// All lanes of a gateway share its concurrency limit, which grows while the gateway answers
// well and shrinks when it is overloaded; its circuit breaker, which opens after three
// failures in a row, or when all that is in flight takes longer than Patience, and then lets
// one probe through at a time; and its pause (Retry-After). Waiting lanes cost a few bytes
// and no timer, and take none of the delivery slots of other gateways (G4). Retries use
// exponential backoff with full jitter.
//
// # What fails, and how
//
//	gateway fails, or hangs     the lane lags; others do not notice (G4)
//	this process is late        by so much no gateway counts as slower, so none loses its limit or is down for it
//	more to send than it can    pokes are late and in order; live lanes get most turns, operators see "capacity"
//	requests hang               they take no place of the limit; probes beyond it find out when that is over
//	gateway is back             the next probe finds out (G5); what expired is a dead letter (ttl.go)
//	others are back too         those that went down since it had last worked are probed within a second
//	gateway is gone for weeks   if the operator wants it, its pushers are removed, with the reason; not while all are
//	                            gone, nor after poked was (gateways_gone.go)
//	one poke refused            after a few tries the lane tries what comes after it; if the gateway takes that,
//	                            or what others of the app get, the poke is a dead letter (G13)
//	pusher or all refused       so is what comes after it: the lane lags
//	operator skips a poke       the lane's next turn makes a dead letter of it, also at a gateway that is down
//	call is over                its poke is not sent, and is no dead letter; the unread count follows (lane_call.go)
//	do not disturb is on        the same; what waits is passed over without a request, and is not sent later
//	crash after a call was sent its record says so, and what was before it in the log is sent (G1, G2)
//	more wait than a call       of each lane the newest four calls go first, and what was read or refused does not
//	poke too large (413)        it is sent again with less in it, and for an hour all others of the gateway are short
//	                            enough at once (payload.go)
//	one pusher's are too large  others get theirs whole
//	browser is gone             (404, 410) its pusher is removed
//	browser's key is refused    (401, 403) if others at the push service are accepted meanwhile, a browser with 403 is
//	                            removed after some minutes; if none is, the fault may be ours: breaker, alert, nothing
//	                            removed (lane_vapid.go)
//	no key for browsers         browsers lag until the registry has published it
//	dead letter not stored      what it is about stays in the lane; what was delivered after it is not sent again
//	pushkey is replaced         what waits goes to the device's new one, once (lane_heir.go)
//	pusher not known here yet   its notifications stay open until it is (G1)
//	event written again         whoever was notified of it before is left out
//	inbox not stored            it stays in memory and is stored again; a successor reads the log since then
//	many stop at once           writes that NATS has no room for are repeated; a successor reads the log since the last
//	inbox of an owner of before its writes are refused whole: they name a position that was replaced
//	far behind, and a crash     a snapshot holds the newest 30 000 unread notifications of a room: what a pusher had yet to
//	                            receive before these it passes over, which is counted
//	inbox unreadable            a dead letter; the room counts as read
//	log has lost its end        inboxes go back to what is left (power cut), and the rest is read again
//	both have lost their end    the position of the partition names the message at its end, and tells of it as well
//	inbox has lost its end      older snapshots and an older position are there: the log is read again since then
//	redacted text not deleted   its message stays open, and the deletion is repeated
//	test push fails, or hangs   it is answered, and changes no lane and no gateway (testpush.go)
//	room read elsewhere         pushers that asked hear of it, with the badge or without (cleared.go); after a crash
//	                            perhaps without its name
//	badge not sent              the lane lags, and its record contains that a badge is due
//	badge due late              it stands where all is that was sent before it: none of that is sent again (G2), and
//	                            nothing that waits before it is skipped (G1)
//	backlog not stored          the notification stays open, and the record is written again
//	backlog is another's        the partition's work ends: another worker owns it (fence)
//	lease not renewed in time   nothing begins and nothing is written until it is
//	killed at any point         the successor reads positions and BACKLOG; what was in flight is sent again (G2)
//
// Lock order: a deliverer's mutex before that of the gateways, never the other way round.
// Nothing is published under either.
//
// Deliver imports no room: a notification contains all that a poke needs.
package deliver

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/dispatcher/spans"
	"poked/events"
	"poked/events/owner"
	"poked/events/partition"
	"poked/events/stream"
	"poked/events/wait"
	"poked/events/webpush"
)

// Patience is how long an attempt may take before its lane is recorded as lagging, and how
// long a lane may wait at a slow gateway before it is. After that the notification need not
// stay open. It bounds how long a gateway can hold up a partition, and how many outcomes a
// crash makes unknown.
const Patience = time.Second

// Deliverer processes one partition of NOTIFICATIONS: it removes what was read, counts what
// was not, and delivers every notification to its user's pushers. The follower's goroutine
// hands it messages, delivery slots report outcomes, the directory reports changed
// pushers; a mutex guards what they share.
type Deliverer struct {
	Config

	follower      *partition.Follower
	catchUpReader *catchUpReader
	attempts      attemptLog
	earlier       *earlier // owned by the follower's goroutine
	askLateAt     time.Time

	store    *stream.Inbox // of the snapshots
	replayed chan struct{} // closed when the inboxes include all that the last owner may have handled

	mu         sync.Mutex
	people     map[events.UserID]*recipient
	busy       map[*lane]struct{}        // lanes with something in their queue
	ending     map[events.PusherID]*lane // lanes of removed pushers whose record is still to be deleted
	backlog    backlogWriter
	badges     map[events.UserID]*pendingBadge // of users whose unread count has changed
	holding    bool                            // see holdNoMore
	late       map[events.UserID]*late         // users of whose pushers match knew a newer revision than the directory here
	recent     recent                          // the newest notifications
	inboxes    map[events.UserID]*inbox        // those in memory
	loading    map[events.UserID]chan struct{} // those that are being loaded; closed after that
	inboxBytes int                             // what all inboxes take in memory, roughly
	snapshots  snapshots
	position   events.InboxPosition // of the snapshots, as stored last
	logBegin   uint64               // what is older has expired
	applied    uint64               // the newest message of the log that the inboxes include
	appliedAt  time.Time            // when it was stored
	undeleted  []*deletion          // redacted messages that could not be deleted
	restoring  bool                 // lanes get the places that their last owner stored
	closing    bool                 // nothing new begins
	ended      bool                 // nothing is stored any more: another worker may own the partition
	out        int                  // attempts in flight
}

// Config is what the deliverers of all partitions of a dispatcher share.
type Config struct {
	Conn          *stream.Conn
	Worker        string // whose name records carry
	Part          int    // the partition
	Directory     *directory.Directory
	Gates         *Gateways
	Client        *poke.Client
	VAPID         *atomic.Pointer[webpush.Signer] // identifies poked to push services of browsers; nil in it until the key is known
	Sealer        *webpush.Sealer
	Counts        *Counters
	PokeTTL       time.Duration // age at which an undelivered poke becomes a dead letter
	EventTTL      EventTTLs     // shorter ones
	Badge         BadgeOf
	ClearedNotifs bool            // receipts with cleared_notifs are told to pushers without a count (MSC4234)
	DelayIfActive time.Duration   // how long a poke waits while its user reads elsewhere; 0 is off
	CatchUpLimit  int             // notifications waiting for a pusher that has failed beyond which only the newest of each room is sent
	Recent        int64           // bytes that the inboxes and the newest notifications of all partitions may take
	Owned         *atomic.Int64   // how many partitions the dispatcher owns, which divide Recent
	Spans         *spans.Recorder // nil unless traces are exported
	Log           *slog.Logger
}

// New returns the deliverer of a partition. It does nothing until Start.
func New(cfg Config) *Deliverer {
	d := &Deliverer{
		Config: cfg,
		people: map[events.UserID]*recipient{}, ending: map[events.PusherID]*lane{},
		late: map[events.UserID]*late{}, holding: true, replayed: make(chan struct{}),
		busy: map[*lane]struct{}{}, badges: map[events.UserID]*pendingBadge{},
		inboxes: map[events.UserID]*inbox{}, loading: map[events.UserID]chan struct{}{},
	}
	d.catchUpReader = newCatchUpReader(d, cfg.CatchUpLimit)
	d.backlog = newBacklogWriter(d)
	d.attempts.d = d
	return d
}

// Start starts the goroutines that read the log for lagging lanes and write their records.
// stop ends all work on the partition.
func (d *Deliverer) Start() (stop func()) {
	stopReading, stopWriting := d.catchUpReader.start(), d.backlog.start()
	return func() {
		d.end()
		stopReading()
		stopWriting()
	}
}

// Run follows the partition until ctx ends, and then waits for pokes in flight, as long as
// drain allows.
func (d *Deliverer) Run(ctx context.Context, drain wait.Drain) error {
	stop, err := owner.Serve(ctx, d.Conn, d.Part, owner.Answers{List: d.list, Pushers: d.statesOf, Test: d.testPush})
	if err != nil {
		return err //nolint:wrapcheck // the error says what failed
	}
	defer stop()
	flushing, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	beside.Go(func() { d.flushAll(flushing) })
	return d.follower.Run(ctx, d.handler(), func() {
		cancel()
		beside.Wait()
		d.finish(drain)
	})
}

func (d *Deliverer) handler() partition.Handler {
	return partition.Handler{Handle: d.handle, Tick: d.tick, Lease: d.Gates.lease}
}

// handle processes the next message of the partition. If ctx ends first, the message stays
// open.
func (d *Deliverer) handle(ctx context.Context, msg partition.Message) {
	m, err := events.ParseLog(msg.Data)
	switch {
	case err != nil && !msg.Settled:
		d.bury(msg, err)
		d.noteApplied(msg)
	case err != nil:
		d.noteApplied(msg)
	case m.Kind == events.LogNotify:
		d.notified(ctx, msg, m.Notify)
	case m.Kind == events.LogRead:
		d.read(ctx, msg, m.Read)
	case m.Kind == events.LogRedacted:
		d.redacted(ctx, msg, m.Redacted)
	case m.Kind == events.LogMarked:
		d.marked(ctx, msg, m.Marked)
	}
	d.noteReplayed()
}

// bury makes a dead letter of a message that cannot be read.
func (d *Deliverer) bury(msg partition.Message, reason error) {
	d.Counts.Skipped.Add(1)
	d.Log.Warn("unreadable notification skipped", "seq", msg.Seq, "error", reason)
	d.follower.Bury(msg, events.DeadBadNotification, reason)
}

func (d *Deliverer) waiting(err error) { d.Log.Warn("deliver waits for nats", "error", err) }

// tick sends what has waited long enough, turns lanes whose gateway keeps them waiting into
// lagging ones, and repeats the writes that failed.
func (d *Deliverer) tick(ctx context.Context, now time.Time) {
	d.noteReplayed()
	d.askLate(ctx, now)
	d.takeLate()
	d.deleteAgain()
	d.forgetEarlier(now)
	d.sendBadges(ctx, now)
	d.attempts.tick(now)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	for l, why := range d.Gates.stuck(d.busy, now) {
		l.fallBehind(now, poke.Because(why))
		l.save()
	}
	d.backlog.again()
}
