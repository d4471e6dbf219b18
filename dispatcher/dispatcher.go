// Package dispatcher turns room events into pokes. It puts the parts together and holds
// no SQL and no queue of its own: work that is not done yet is a position in NATS.
//
//	            PUSHERS, PUSH_RULES ──▶ directory: who has pushers, and which rules
//	                                     │         │
//	ROOMS ──▶ match ──▶ NOTIFICATIONS ──▶ deliver ──▶ poke ──▶ push gateway
//	          by room      by user         by user     one request
//	                                       │    ▲
//	                                       ▼    │
//	                                   BACKLOG, INBOX
//
// # The pipeline
//
// [match] follows a partition of ROOMS in order, keeps the state of its rooms, and stores
// whom an event notifies, one message for each partition of users. It also finds out what
// users have read. [deliver] follows a partition of NOTIFICATIONS in order, and keeps what
// each user has not read. Each pusher has a lane
// there, with at most one poke in flight, so a pusher receives its user's notifications in
// the order of the log (G3). [poke] makes the request and decides what the answer means.
// [directory] knows every user's enabled pushers and, of those who have any, their push
// rules; match and deliver ask it, and neither imports the other.
//
// A notification is done when every lane has delivered it or has a record in BACKLOG. There
// is no separate retry queue: a lane that lags keeps its position in its user's
// notifications, and resumes from there once its gateway recovers.
//
// # Sharing
//
// Dispatchers share the partitions evenly and take over from one another (package
// [partition]). The directory, the gateways, the delivery slots and the connections live as
// long as the dispatcher; the matcher and the deliverer of a partition live from when the
// dispatcher gains it until it loses it, and leave nothing behind. A dispatcher that owns
// nothing, because there are more dispatchers than partitions, stands by with its directory
// loaded.
//
// A partition that is handed over begins nothing new. Pokes in flight have 0.75 s to finish
// if another dispatcher waits for the partition, and the grace of a stop if none does. What
// is still in flight then is recorded as lagging, so the next owner sends it again. Each
// dispatcher has its own view of a gateway: its concurrency limit, and whether it is down.
// The pause that a gateway asks for (Retry-After) is shared with all of them.
//
// # Memory
//
// All memory is bounded by what the dispatcher owns, not by what is behind: a pusher costs
// 75 bytes and its pushkey, a user of another dispatcher's partition about 50 bytes, a
// lagging lane up to 400 bytes, however many notifications it has missed (G7). What users
// have not read, 256 bytes for a room and 32 for a notification, and the newest messages
// take as much as Config.Recent allows; beyond that, inboxes leave memory once their
// snapshots are stored. Of notifications that NATS has not stored yet, match holds a bounded number.
//
// # What fails, and how
//
//	NATS away                  reading and writing resume when it is back; pokes in flight finish
//	NATS slower than match     match waits: the notifications that are written and not stored are bounded
//	NATS accepts nothing       the connection is closed and opened anew after 5 s
//	registry away              delivery continues with the pushers that are known
//	gateway fails, or hangs    its lanes lag, others do not notice (G4); see package deliver
//	position not stored        reading stops after a second: more would be repeated after a crash
//	lease not renewed in time  nothing begins and nothing is written: another may own the partition
//	dispatcher starts or stops partitions are handed over, as above
//	event published again      it notifies nobody. One gap is left: a sender's clock more than nine minutes
//	                           ahead, a repetition once it is right, and a restart or another owner between
//	killed at any point        the next owner reads the positions and BACKLOG; what was in flight, or
//	                           answered and not recorded, is sent again (G2)
//	message cannot be read     counted, logged, dead letter, next
//	value cannot be read       counted, logged, and a dead letter if nothing else holds its content: a
//	                           partition without its position begins with what the stream has, a pusher
//	                           without its record with its user's log, a user without rules has the
//	                           predefined ones
//	partition not prepared     repeated until it works; partitions gained at the same time wait for 10 s
//	                           at most
//
// What fails inside a stage is in the package comments of match and deliver.
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
	"poked/dispatcher/spans"
	"poked/events"
	"poked/events/partition"
	"poked/events/pushgateway"
	"poked/events/stream"
	"poked/events/wait"
	"poked/events/webpush"
)

// Config is what an operator can configure of a dispatcher.
type Config struct {
	Slots          int             `name:"slots" default:"1024" env:"POKED_SLOTS" help:"Concurrency limit: pokes in flight at the same time."`
	GatewaySlots   int             `name:"gateway-slots" default:"256" env:"POKED_GATEWAY_SLOTS" help:"Highest concurrency limit of one push gateway: pokes in flight there at the same time."`
	GatewayFloor   int             `name:"gateway-floor" default:"8" env:"POKED_GATEWAY_FLOOR" help:"Lowest concurrency limit of one push gateway: where it begins, and where it returns to when the gateway is overloaded; --gateway-slots at most."`
	RequestTimeout time.Duration   `name:"request-timeout" default:"75s" env:"POKED_REQUEST_TIMEOUT" help:"Time limit of one poke. Sygnal may take 70s to answer."`
	PokeTTL        time.Duration   `name:"poke-ttl" default:"24h" env:"POKED_POKE_TTL" help:"Age at which an undelivered poke becomes a dead letter, at least 12h less than --keep."`
	PayloadLimit   []string        `name:"payload-limit" env:"POKED_PAYLOAD_LIMIT" placeholder:"GATEWAY=BYTES" help:"Largest request body for a push gateway, by its host or URL, such as ntfy.example.org=4096: longer pokes are shortened. Without it poked finds out: what a gateway answers 413 to is sent shorter, and the limit is remembered for an hour."`
	EventTTL       []string        `name:"event-ttl" env:"POKED_EVENT_TTL" placeholder:"TYPE=DURATION" help:"A shorter --poke-ttl for pokes about events of a type, such as m.room.member=1h. Of an encrypted event the type is m.room.encrypted. A pusher may ask for a shorter one, too: poked.ttl in its data, in seconds."`
	RetireAfter    time.Duration   `name:"retire-after" default:"0s" env:"POKED_RETIRE_AFTER" help:"Remove pushers whose gateway has been gone for so long, with a reason; weeks (336h) are usual, 1h is the least. What counts is the time in which poked tried in vain while other gateways worked. 0 is never."`
	CatchUpLimit   int             `name:"catch-up-limit" default:"100" env:"POKED_CATCH_UP_LIMIT" help:"A pusher that is more than this many notifications behind, after a failure at its gateway, gets only the newest one per room."`
	Badge          deliver.BadgeOf `name:"badge" default:"messages" env:"POKED_BADGE" placeholder:"messages|rooms|none" help:"What the unread count counts: messages; rooms, with those that their user marked as unread (m.marked_unread); or none for pokes without it."`
	DelayIfActive  time.Duration   `name:"delay-if-active" default:"0s" env:"POKED_DELAY_IF_ACTIVE" help:"How long a poke waits while its user is reading elsewhere; it is not sent if they read the message meanwhile. Highlights do not wait. 0 is off."`
	ClearedNotifs  bool            `name:"cleared-notifs" env:"POKED_CLEARED_NOTIFS" help:"When a receipt has cleared_notifs (MSC4234; unstable org.matrix.msc4234.cleared_notifs), send a poke without an event to pushers that get no unread count, so that their clients count again. Pushers whose data has poked.cleared get one whenever their user has read something, whatever this flag says."`
	Rings          bool            `name:"rings" default:"true" negatable:"" env:"POKED_RINGS" help:"Send pokes of calls (MSC4075, m.call.invite) before all others of their pusher, and none of a call that is over."`
	RoomAvatars    bool            `name:"room-avatars" env:"POKED_ROOM_AVATARS" help:"Keep the URI of each room's avatar (m.room.avatar), and store it with notifications, for pushers whose data has poked.room_avatar. Give it to all dispatchers. An avatar that was redacted while it was off stays until the room gets another."`
	Recent         int64           `name:"recent" default:"67108864" env:"POKED_RECENT" help:"Bytes of memory for what users have not read, beyond what is about to be stored, and for the newest notifications themselves."`
	OpenRooms      int             `name:"open-rooms" default:"20000" env:"POKED_OPEN_ROOMS" help:"Rooms whose state is kept in memory."`
	StopGrace      time.Duration   `name:"stop-grace" default:"10s" env:"POKED_STOP_GRACE" help:"How long a stop waits for pokes in flight if there is no other dispatcher. If there is one, it takes over within a second."`
}

// ttlMargin is what lies at least between the expiry of a poke and that of its notification.
// A lagging pusher may be tried an hour late (backoff, Retry-After), or NATS may be away;
// without the notification there would be no dead letter.
const ttlMargin = 12 * time.Hour

// maxPokeTTL is the longest time to live of a poke if the log is kept as long as possible.
const maxPokeTTL = stream.LongestKeep - ttlMargin

// Validate returns an error, in the words of the command line, for values that cannot work.
func (c Config) Validate() error {
	switch {
	case c.Slots < 1, c.GatewaySlots < 1, c.GatewayFloor < 1, c.OpenRooms < 1, c.CatchUpLimit < 1:
		return errors.New("--slots, --gateway-slots, --gateway-floor, --open-rooms and --catch-up-limit must be at least 1")
	case c.Recent < 0:
		return errors.New("--recent must not be negative")
	case c.RequestTimeout <= 0, c.PokeTTL <= 0:
		return errors.New("--request-timeout and --poke-ttl must be positive")
	case c.PokeTTL > maxPokeTTL:
		return fmt.Errorf("--poke-ttl must be at most %v: the notification log keeps nothing for longer than %v", maxPokeTTL, stream.LongestKeep)
	case c.StopGrace < 0, c.DelayIfActive < 0:
		return errors.New("--stop-grace and --delay-if-active must not be negative")
	case c.DelayIfActive >= c.PokeTTL:
		return errors.New("--delay-if-active must be shorter than --poke-ttl")
	}
	if c.RetireAfter != 0 && c.RetireAfter < deliver.ShortestRetirement {
		return fmt.Errorf("--retire-after must be 0 or at least %v", deliver.ShortestRetirement)
	}
	if _, err := deliver.ParseEventTTLs(c.EventTTL); err != nil {
		return fmt.Errorf("--event-ttl: %w", err)
	}
	if _, err := deliver.ParsePayloadLimits(c.PayloadLimit); err != nil {
		return fmt.Errorf("--payload-limit: %w", err)
	}
	return c.Badge.Validate()
}

// CheckKeep returns an error, in the words of the command line, if the notification log is
// kept for too short a time for the time to live of pokes.
func (c Config) CheckKeep(keep time.Duration) error {
	if longest := keep - ttlMargin; c.PokeTTL > longest {
		return fmt.Errorf("--poke-ttl must be at most %v with --keep %v: the notification log drops what is older", longest, keep)
	}
	return nil
}

// Dispatcher turns room events into pokes.
type Dispatcher struct {
	cfg        Config
	payloads   deliver.PayloadLimits
	eventTTL   deliver.EventTTLs
	policy     *pushgateway.Policy
	conn       *stream.Conn
	group      *partition.Group
	log        *slog.Logger
	worker     string
	dial       poke.DialFunc
	spans      *spans.Recorder // nil unless traces are exported
	matched    match.Counters
	counts     deliver.Counters
	partitions atomic.Int64 // owned now

	ready   chan struct{}
	current atomic.Pointer[delivery] // for Health

	vapid     atomic.Pointer[webpush.Signer]   // of what is pushed to browsers
	sharing   atomic.Pointer[partition.Worker] // for Unready; nil while it does not run
	operators atomic.Pointer[string]           // why operators get no answer; nil if they do
}

// New returns a dispatcher that opens only the connections to gateways that policy allows.
// The streams and buckets of conn must exist.
func New(cfg Config, policy *pushgateway.Policy, conn *stream.Conn, log *slog.Logger) (*Dispatcher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure dispatcher: %w", err)
	}
	if err := cfg.CheckKeep(conn.Kept()); err != nil {
		return nil, fmt.Errorf("configure dispatcher: %w", err)
	}
	payloads, err := deliver.ParsePayloadLimits(cfg.PayloadLimit)
	if err != nil {
		return nil, fmt.Errorf("configure dispatcher: %w", err)
	}
	eventTTL, err := deliver.ParseEventTTLs(cfg.EventTTL)
	if err != nil {
		return nil, fmt.Errorf("configure dispatcher: %w", err)
	}
	worker := rand.Text()
	return &Dispatcher{
		cfg: cfg, payloads: payloads, eventTTL: eventTTL, policy: policy, conn: conn, group: partition.NewGroup(conn), worker: worker,
		log:   log.With("worker", worker),
		dial:  policy.Dialer(net.Dialer{Timeout: poke.DialTimeout}),
		ready: make(chan struct{}),
	}, nil
}

// Ready returns a channel that is closed once the dispatcher works on its share of the
// partitions for the first time, or stands by because there are enough others.
func (d *Dispatcher) Ready() <-chan struct{} { return d.ready }

// DialWith makes the dispatcher connect to push gateways by dial instead of over the network.
// What the policy allows for an address no longer counts then. Call it before Run.
func (d *Dispatcher) DialWith(dial poke.DialFunc) { d.dial = dial }

// RecordSpans makes the dispatcher record what it does as spans of traces. Call it before Run.
func (d *Dispatcher) RecordSpans(recorder *spans.Recorder) { d.spans = recorder }

// Run works until ctx ends, then waits for pokes in flight, at most for StopGrace, and
// returns nil. It shares the partitions with all other dispatchers; if there are more of
// them than partitions, some stand by.
func (d *Dispatcher) Run(ctx context.Context) error {
	worker := d.group.NewWorker(d.worker)
	d.sharing.Store(worker)
	defer d.sharing.Store(nil)
	d.run(ctx, worker.Lease(), worker.Share)
	return nil
}

// RunAlone is [Dispatcher.Run] for the only dispatcher of its streams. It works on all
// partitions, and has no lease to renew.
func (d *Dispatcher) RunAlone(ctx context.Context) error {
	d.run(ctx, nil, d.group.OwnAll)
	return nil
}

// shareFunc is [partition.Worker.Share], or [partition.Group.OwnAll].
type shareFunc func(ctx context.Context, own func(context.Context, *partition.Tenure) error, ready func())

func (d *Dispatcher) run(ctx context.Context, lease *partition.Lease, share shareFunc) {
	all := d.open(lease)
	d.current.Store(all)
	defer all.close()
	defer d.current.Store(nil)
	d.work(ctx, all, share)
}

// work loads the directory, keeps it up to date, and takes its share of the partitions once
// all pushers and push rules are loaded. When it returns, only pokes in flight are left.
//
//	ctx ──▶ watch PUSHERS and PUSH_RULES ──▶ directory
//	    ├─▶ watch GATEWAYS ◀──▶ gateways
//	    ├─▶ answer operators
//	    └─▶ share ──▶ own: a follower for each stage of a partition, while it is owned
func (d *Dispatcher) work(ctx context.Context, all *delivery, share shareFunc) {
	var beside sync.WaitGroup
	defer beside.Wait()
	began := time.Now()
	all.expectShare(ctx)
	buckets := d.known(ctx, all.dir)
	buckets["vapid key"] = func(ready func()) error { return d.watchVAPID(ctx, ready) }
	buckets["absences"] = func(ready func()) error { return d.conn.WatchAbsences(ctx, all.gates.ApplyAbsence, ready) }
	buckets["pauses"] = func(ready func()) error { return d.conn.WatchPauses(ctx, all.gates.ApplyPause, ready) }
	if !d.follow(ctx, &beside, buckets) {
		return
	}
	pushers, rules := all.dir.Sizes()
	d.log.Info("pushers and push rules loaded", "users", pushers, "users_with_rules", rules, "took", time.Since(began))
	beside.Go(func() { d.serveOperator(ctx, all) })
	beside.Go(func() { all.lighten(ctx) })
	beside.Go(func() { all.gates.KeepTime(ctx, d.conn.TickInterval()) })
	beside.Go(func() { all.gates.MeasureDelay(ctx, d.conn.TickInterval()) })
	beside.Go(func() { all.gates.SharePauses(ctx, d.conn, d.log) })
	beside.Go(func() { all.gates.StoreAbsences(ctx, d.conn, d.log) })
	share(ctx, all.own, func() {
		d.log.Info("dispatching", "partitions", d.partitions.Load(), "of", d.conn.Topology().Partitions)
		close(d.ready)
	})
}

// vapidPatience is how long the start waits for the key for browsers. Streams of an earlier version
// do not have it, and other pushers do not need it.
const vapidPatience = 5 * time.Second

// watchVAPID follows the key by which push services of browsers know poked.
func (d *Dispatcher) watchVAPID(ctx context.Context, ready func()) error {
	late := time.AfterFunc(vapidPatience, ready)
	defer late.Stop()
	return d.conn.WatchVAPID(ctx, func(v events.VAPID) {
		key, err := webpush.ParseKey(v.PrivateKey)
		if err == nil {
			var signer *webpush.Signer
			if signer, err = webpush.NewSigner(key, v.Subject); err == nil {
				d.vapid.Store(signer)
			}
		}
		if err != nil {
			d.log.Error("the vapid key cannot be used, browsers get nothing", "error", err)
		}
	}, ready)
}

// watchFunc watches a bucket and calls ready once all that it held is loaded.
type watchFunc func(ready func()) error

// known returns the watches of the buckets that fill the directory.
func (d *Dispatcher) known(ctx context.Context, dir *directory.Directory) map[string]watchFunc {
	return map[string]watchFunc{
		"pushers":    func(ready func()) error { return dir.Watch(ctx, d.conn, ready) },
		"push rules": func(ready func()) error { return dir.WatchRules(ctx, d.conn, ready) },
	}
}

// follow watches buckets until ctx ends. It returns true once all that they held is loaded,
// or false if ctx ends before.
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

// watch watches a bucket until ctx ends. If the watch fails, it starts again.
func (d *Dispatcher) watch(ctx context.Context, bucket string, watch func() error) {
	for ctx.Err() == nil {
		if err := watch(); err != nil && ctx.Err() == nil {
			d.log.Warn("bucket not watched, trying again", "bucket", bucket, "error", err)
			_ = wait.For(ctx, wait.RetryPause) // the loop looks at ctx
		}
	}
}
