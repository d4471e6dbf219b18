// Package dispatcher turns room events into pokes. It holds no SQL and no queue:
// what it has not done yet stands in NATS.
//
//	ROOMS ──▶ matcher ──▶ NOTIFICATIONS ──▶ deliverer ──▶ lane ──▶ gateways ──▶ slot ──▶ POST
//	  by room    │            by user           │          one a      share       │
//	             │                              │        pusher      the slots    │
//	 rooms, audience, pushrule           unread counts      ▲                     │
//	                                                        └── settle(outcome) ◀─┴──▶ report
//	directory ◀── PUSHERS, PUSH_RULES   lag ──▶ BACKLOG ──▶ in line, or calendar ──▶ catcher ──▶ log
//
// # The walk
//
// A matcher follows one partition of ROOMS in order. It keeps the state of its
// rooms and writes one notification for each user that an event notifies; the
// event is done when all of them are stored, and only then the next one of its room
// begins (inTurn): a room's notifications stand in its order, and a room moves as
// fast as NATS stores one write after another. A deliverer follows one partition of
// NOTIFICATIONS in order. Each pusher has a lane, and each lane has at most one poke
// out, so a pusher is told in the order of the log (G3). A notification is done when
// every lane has told it or is written down as lagging.
//
// A lane lags whose poke fails or is out for a second, that would wait at its
// gateway because that is down, paused, or has more to do than it can, or that
// has more to tell than a lane may keep open: its position in its user's
// notifications goes into BACKLOG, its queue is dropped, and later notifications
// cost it nothing (G7). When its turn comes the partition's catcher reads on from
// the position, for many lanes in one request; of a pusher that has too much to
// catch up with, only the newest notification of each room is told. The log is
// the queue; failure is a position that stands still.
//
// # Who is notified
//
// The directory knows every user's enabled pushers and, of those who have any,
// their own rules, compiled (userRules). A room keeps its audience: the joined
// members with a pusher, in classes of users for whom the same compiled rules
// decide. Each class is asked once for an event, and its users only if it
// depends on them, or some are notified: an event that notifies nobody visits
// nobody. Audiences follow the members and the directory change by change, for
// on a busy server somebody changes every second. Rules are in effect as soon as
// the directory has heard of them; a user whose rules cannot be read keeps those
// that were known last, or the predefined ones. Ignored senders notify nobody,
// not even by an invite.
//
// A device whose own rules match is told what they say, whatever the user's other
// pushers are told. Match decides that too and stores it with the notification
// (events.DeviceOutcome), so that a lane which catches up from the log obeys the
// same decision. There is one notification for a user, whichever of their devices
// it is for, and it counts as unread.
//
// # What is read
//
// Unread is what stands in the user's log, so reading is removing. Match finds out
// what was read: by a receipt, by a message of the user's own, by leaving or
// joining; up to which event of ROOMS, in the whole room or in one thread. It remembers
// where a room's newest events stand (timeline) and how far its members have read
// (marker), and writes nothing if there can be nothing to remove. A receipt or a
// redaction that comes before its event stays open for up to ten minutes until the
// event comes (early); then the event does not notify whom it would have.
//
// Where any event of a room stands, one function answers from memory (locate). What it
// does not know is looked up beside the goroutine that matches (searches), and the
// message that asks is handled again afterwards: first in what the user has unread in
// the room, which the log keeps for longer than ROOMS keeps events, then in ROOMS. Each
// message of a room is read once; after that the archive knows of every event where it
// stands, or that there is none. A receipt keeps nobody waiting meanwhile; a room event
// keeps its own room.
//
// An event that the homeserver publishes a second time notifies nobody. NATS recognizes
// it for ten minutes by its id. So what was published under another id, or was not sent
// within that time by its sender's clock, or has no time or one that is ahead, is
// looked for, unless the archive knows all of the room. One gap is left: a clock that
// is more than nine minutes ahead, a repetition when it seems right, and a restart or
// another owner between the two.
//
// Deliver removes what is read from the log, and from lanes that have it in hand.
// A lane that lags finds it gone. The new count goes out by itself after half a
// second (debt), unless a poke has carried it; a lane that lags has it written in
// its record and tells it when everything else is told. The message that changed
// the count is done only then. What a pusher was told last is not stored, so the
// first badge after a restart may say what the pusher knows.
//
// # Memory
//
// Of users in partitions that are another dispatcher's the directory keeps what
// match asks for, about 50 bytes each; of those in its own all pushers, packed
// (shelves, entry): 75 bytes and the pushkey. Data that pushers share is kept once
// (kinds). A partition that is gained is read from the bucket once more (share).
//
// # Slots and gateways
//
// A slot makes one attempt and takes the next lane; it never waits. Lanes wait
// at their gateway, which has at most its share of the slots, so a gateway that
// hangs, or is slow, holds its share and nothing else, and no windows (G4).
//
//	submit ──▶ line at the gateway ──▶ ready ──▶ slot: attempt ──▶ report ──▶ next in line
//	              ▲        ▲ limit, breaker, pause                   │
//	           calendar ◀──┴── failed by itself ◀────────────────────┘
//
// For each gateway three things say who has a place there. The limit grows while
// the gateway answers well and is used up, and shrinks when it is too much. The
// breaker opens when pokes fail in a row: then there is one probe at
// a time, within 30 s of each other if the gateway worked within the last day.
// One that hangs is asked as often, by a scout besides what hangs there.
// Retry-After pauses the whole gateway (G6). Who lags because of any of them
// stands in line and costs a few bytes and no timer; when it is over they come
// back in order as places are free, few at first (G5). A lane that fails by
// itself, or in a way that somebody has to mend, stands in the calendar until its
// own next try.
//
// # What it takes
//
// On paper, from what was measured: a poke costs 30 to 90 µs of a dispatcher's
// processor, a notification 1.1 KB in NATS, and each pair of user and room that has
// something in the log 250 bytes of live memory at every NATS server that keeps it.
// Assumed are 50 notifications a user and day, five users notified by an event, 1.5
// pushers a user, and a peak of four times the mean.
//
//	users         a million                        a hundred million
//	events/s      460                              46 000
//	notif./s      2 300                            230 000
//	pokes/s       3 500, a third of a core         350 000, 10 to 32 cores
//	dispatchers   two, so that one may fail        20 to 60, half used
//	memory        up to 370 bytes a pusher         the same, spread over them
//	NATS          6 000 messages/s, 10 MB/s,       600 000 messages/s, 1 GB/s,
//	              385 GB if a week stays unread    38 TB, 500 GB of memory for subjects
//	bottleneck    the log's size                   one stream is one Raft group: 27 000 writes/s
//
// For the second ROOMS and NOTIFICATIONS would have to become a stream for a range
// of partitions each; after that come positions (100 a second for each partition and
// stage) and the time in which a dispatcher learns of its pushers.
//
// # What fails, and how
//
//	NATS away                  reading and writing go on when it is back; pokes that are out come home
//	NATS slower than match     match waits: at most unstoredLimit is written and not stored
//	notification not stored    the event is matched again; who has the notification already is left out, and
//	                           what follows in the room waits
//	gateway fails, or hangs    outcome decided in one place (decide), the lane lags, others do not notice
//	gateway is back            the next probe finds out; what has expired meanwhile is a dead letter already
//	pusher not heard of yet    match says by which revision of PUSHERS it decided: deliver keeps the user's
//	                           messages open until it has heard of that, or PUSHERS has not got it (late)
//	NATS away during a search  it is repeated; its message stays open, and is a successor's if this one dies
//	read not stored            the receipt stays open and is taken in again
//	read not removed           deliver waits: what comes after must not overtake it
//	badge not told             the lane lags, its record says that it owes a badge
//	pause not shared           told again while it lasts; until then each dispatcher finds out with one poke
//	backlog not stored         the notification stays open, written again by the next tick
//	backlog is another's       the work on the partition ends, as if the position were; if the partition is ours
//	                           all the same it begins anew with what is stored
//	NATS takes nothing         the connection is given up after 5 s; until then what is in hand is poked
//	position not stored        after a second nothing more is read: it would be done again after a death
//	lease not renewed in time  nothing is begun and nothing written until it is: another may be at work
//	dispatcher comes, or goes  partitions are handed over: what is out has 0.75 s to come home, the rest is told again
//	killed at any point        the successor reads the positions and BACKLOG; what was out, or answered but not
//	                           yet written down, is told again (G2)
//	message cannot be read     counted, logged, dead letter, next
//	value cannot be read       counted, logged, and a dead letter if nothing else knows what it held: a partition
//	                           without its position begins with what the stream has, a pusher without its
//	                           record with its user's log, a user without rules has the predefined ones
//	partition not prepared     tried until it works; those that came with it wait for 10 s at most
//	address not allowed        refused at each dial, whatever DNS says (G8); the lane lags in the slow class
//
// # Many dispatchers
//
// Dispatchers share the partitions evenly and take over from one another (package
// events, Ownership). The directory, the gateways, the slots and the connections
// live as long as a dispatcher does (delivery); the matcher and the deliverer of a
// partition live from when it comes until it goes (own), and then leave nothing
// behind: no lane in a line, in the calendar or among those who lag. One that owns
// nothing, because there are more dispatchers than partitions, stands by with its
// directory loaded.
//
// A partition that goes begins nothing new. What is out may come home, for 0.75 s
// if another dispatcher waits for it and for the grace of a stop if none does; what
// is still out then is written down as lagging, so the next owner tells it again.
// Each dispatcher has its own view of a gateway: how much it bears, and whether it
// is down. How long it asked to be left alone, all hear from the one it told (pause).
package dispatcher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"poked/dispatcher/deliver"
	"poked/dispatcher/directory"
	"poked/dispatcher/match"
	"poked/dispatcher/poke"
	"poked/events/partition"
	"poked/events/pushgateway"
	"poked/events/stream"
	"poked/events/wait"
)

// Config is what an operator may choose of a dispatcher.
type Config struct {
	Slots          int             `name:"slots" default:"1024" env:"POKED_SLOTS" help:"Pokes that may be out at the same time."`
	GatewaySlots   int             `name:"gateway-slots" default:"256" env:"POKED_GATEWAY_SLOTS" help:"Pokes that may be out at one push gateway at the same time, when it bears them."`
	GatewayFloor   int             `name:"gateway-floor" default:"8" env:"POKED_GATEWAY_FLOOR" help:"Pokes that may be out at a push gateway which has not shown yet that it bears more, or that is overloaded; --gateway-slots at most."`
	RequestTimeout time.Duration   `name:"request-timeout" default:"75s" env:"POKED_REQUEST_TIMEOUT" help:"Time limit of one poke. Sygnal may take 70s to answer."`
	PokeTTL        time.Duration   `name:"poke-ttl" default:"24h" env:"POKED_POKE_TTL" help:"Age at which an undelivered poke becomes a dead letter, at most 144h: the notification log drops it after 168h."`
	CatchUpLimit   int             `name:"catch-up-limit" default:"100" env:"POKED_CATCH_UP_LIMIT" help:"Notifications waiting for one pusher beyond which only the newest of each room is poked."`
	Badge          deliver.BadgeOf `name:"badge" default:"messages" env:"POKED_BADGE" placeholder:"messages|rooms|none" help:"What the unread count of a poke counts: messages, rooms, or none for pokes without it."`
	DelayIfActive  time.Duration   `name:"delay-if-active" default:"0s" env:"POKED_DELAY_IF_ACTIVE" help:"How long a poke waits while its user is reading elsewhere; it goes if they read it meanwhile. Highlights do not wait. 0 is off."`
	OpenRooms      int             `name:"open-rooms" default:"20000" env:"POKED_OPEN_ROOMS" help:"Rooms whose state is kept in memory."`
	StopGrace      time.Duration   `name:"stop-grace" default:"10s" env:"POKED_STOP_GRACE" help:"How long a stop waits for pokes that are out when no other dispatcher is there. When one is, it takes over within a second."`
}

// maxPokeTTL leaves a day between the end of a poke's time to live and that of its
// notification. A lagging pusher may look only an hour later (slowLimit, Retry-After),
// or NATS may be away; without the notification there would be no dead letter.
const maxPokeTTL = stream.NotificationsKept - 24*time.Hour

// Validate refuses what cannot work, in the words of the command line.
func (c Config) Validate() error {
	switch {
	case c.Slots < 1, c.GatewaySlots < 1, c.GatewayFloor < 1, c.OpenRooms < 1, c.CatchUpLimit < 1:
		return errors.New("--slots, --gateway-slots, --gateway-floor, --open-rooms and --catch-up-limit must be at least 1")
	case c.RequestTimeout <= 0, c.PokeTTL <= 0:
		return errors.New("--request-timeout and --poke-ttl must be positive")
	case c.PokeTTL > maxPokeTTL:
		return fmt.Errorf("--poke-ttl must be at most %v: the notification log drops what is older than %v", maxPokeTTL, stream.NotificationsKept)
	case c.StopGrace < 0, c.DelayIfActive < 0:
		return errors.New("--stop-grace and --delay-if-active must not be negative")
	case c.DelayIfActive >= c.PokeTTL:
		return errors.New("--delay-if-active must be shorter than --poke-ttl")
	}
	return c.Badge.Validate()
}

// Dispatcher turns room events into pokes.
type Dispatcher struct {
	cfg        Config
	policy     *pushgateway.Policy
	conn       *stream.Conn
	group      *partition.Group
	log        *slog.Logger
	worker     string
	dial       poke.DialFunc
	matched    match.Counters
	counts     deliver.Counters
	partitions atomic.Int64 // that are worked on now

	ready   chan struct{}
	current atomic.Pointer[delivery] // for Health

	sharing   atomic.Pointer[partition.Worker] // for Unready; nil while it does not run
	operators atomic.Pointer[string]           // why they get no answer; nil if they do
}

// New returns a dispatcher that opens connections to gateways as policy allows.
// The topology of conn must have been set up.
func New(cfg Config, policy *pushgateway.Policy, conn *stream.Conn, log *slog.Logger) (*Dispatcher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure dispatcher: %w", err)
	}
	worker := rand.Text()
	return &Dispatcher{
		cfg: cfg, policy: policy, conn: conn, group: partition.NewGroup(conn), worker: worker,
		log:   log.With("worker", worker),
		dial:  policy.Dialer(net.Dialer{Timeout: poke.DialTimeout}),
		ready: make(chan struct{}),
	}, nil
}

// Ready is closed when the dispatcher works, for the first time, on all that is
// its share, be that nothing because there are enough others.
func (d *Dispatcher) Ready() <-chan struct{} { return d.ready }

// Run works until ctx ends, then finishes what is out within the grace that the
// configuration gives and returns nil. It shares the partitions with all other
// dispatchers; if there are more of them than partitions, some stand by.
func (d *Dispatcher) Run(ctx context.Context) error {
	worker := d.group.NewWorker(d.worker)
	d.sharing.Store(worker)
	defer d.sharing.Store(nil)
	d.run(ctx, worker.Lease(), worker.Share)
	return nil
}

// shareFunc is [events.Worker.Share], or [events.Group.OwnAll].
type shareFunc func(ctx context.Context, own func(context.Context, *partition.Tenure) error, ready func())

func (d *Dispatcher) run(ctx context.Context, lease *partition.Lease, share shareFunc) {
	all := d.open(lease)
	d.current.Store(all)
	defer all.close()
	defer d.current.Store(nil)
	d.work(ctx, all, share)
}

// work has the directory fed, and partitions worked on as soon as it knows all
// pushers and push rules: nobody gives a partition to one who has yet to learn
// them. When it returns nothing goes on any more but pokes that are late.
//
//	ctx ──▶ watch PUSHERS and PUSH_RULES ──▶ directory
//	    ├─▶ watch GATEWAYS ◀──▶ gateways
//	    ├─▶ answer operators
//	    └─▶ share ──▶ own: a follower for each stage of a partition that comes, until it goes
func (d *Dispatcher) work(ctx context.Context, all *delivery, share shareFunc) {
	var beside sync.WaitGroup
	defer beside.Wait()
	began := time.Now()
	all.expectShare(ctx)
	buckets := d.known(ctx, all.dir)
	buckets["pauses"] = func(ready func()) error { return d.conn.WatchPauses(ctx, all.gates.Heard, ready) }
	if !d.follow(ctx, &beside, buckets) {
		return
	}
	pushers, rules := all.dir.Sizes()
	d.log.Info("pushers and push rules loaded", "users", pushers, "users_with_rules", rules, "took", time.Since(began))
	beside.Go(func() { d.serveOperator(ctx, all) })
	beside.Go(func() { all.lighten(ctx) })
	beside.Go(func() { all.gates.KeepTime(ctx, d.conn.TickInterval()) })
	beside.Go(func() { all.gates.SharePauses(ctx, d.conn, d.log) })
	share(ctx, all.own, func() {
		d.log.Info("dispatching", "partitions", d.partitions.Load(), "of", d.conn.Partitions())
		close(d.ready)
	})
}

// watchFunc watches a bucket and calls ready when all that it held is in.
type watchFunc func(ready func()) error

// known are the buckets that the directory stands on.
func (d *Dispatcher) known(ctx context.Context, dir *directory.Directory) map[string]watchFunc {
	return map[string]watchFunc{
		"pushers":    func(ready func()) error { return dir.Watch(ctx, d.conn, ready) },
		"push rules": func(ready func()) error { return d.conn.WatchPushRules(ctx, dir.ApplyRules, ready) },
	}
}

// follow has buckets watched for as long as ctx lasts. It returns true when all that
// they held is in, or false when ctx has ended before.
func (d *Dispatcher) follow(ctx context.Context, group *sync.WaitGroup, buckets map[string]watchFunc) (loaded bool) {
	in := make(chan struct{}, len(buckets))
	for name, bucket := range buckets {
		var once sync.Once
		group.Go(func() {
			d.watch(ctx, name, func() error { return bucket(func() { once.Do(func() { in <- struct{}{} }) }) })
		})
	}
	for range buckets {
		select {
		case <-in:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// watch watches a bucket, again and again until ctx ends.
func (d *Dispatcher) watch(ctx context.Context, bucket string, watch func() error) {
	for ctx.Err() == nil {
		if err := watch(); err != nil && ctx.Err() == nil {
			d.log.Warn("bucket not watched, trying again", "bucket", bucket, "error", err)
			_ = wait.For(ctx, wait.RetryPause) // the loop looks at ctx
		}
	}
}
