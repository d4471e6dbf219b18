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
// event is done when all of them are stored. A deliverer follows one partition
// of NOTIFICATIONS in order. Each pusher has a lane, and each lane has at most
// one poke out, so a pusher is told in the order of the log (G3). A notification
// is done when every lane has told it or is written down as lagging.
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
// # What fails, and how
//
//	NATS away                  reading and writing go on when it is back; pokes that are out come home
//	NATS slower than match     match waits: at most unstoredLimit is written and not stored
//	notification not stored    the event is matched again; who has the notification already is left out
//	gateway fails, or hangs    outcome decided in one place (decide), the lane lags, others do not notice
//	gateway is back            the next probe finds out; what has expired meanwhile is a dead letter already
//	backlog not stored         the notification stays open, written again by the next tick
//	lease not renewed in time  nothing is begun and nothing written until it is: another may be at work
//	killed at any point        the successor reads the positions and BACKLOG; what was out, or answered but not
//	                           yet written down, is told again (G2)
//	message cannot be read     counted, logged, dead letter, next
//	address not allowed        refused at each dial, whatever DNS says (G8); the lane lags in the slow class
//
// One dispatcher owns all partitions; more of them stand by (events.Conn.Lead).
package dispatcher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"poked/events"
	"poked/events/pushgateway"
)

// Config is what an operator may choose of a dispatcher.
type Config struct {
	Slots          int           `name:"slots" default:"1024" env:"POKED_SLOTS" help:"Pokes that may be out at the same time."`
	GatewaySlots   int           `name:"gateway-slots" default:"256" env:"POKED_GATEWAY_SLOTS" help:"Pokes that may be out at one push gateway at the same time, when it bears them."`
	GatewayFloor   int           `name:"gateway-floor" default:"8" env:"POKED_GATEWAY_FLOOR" help:"Pokes that may be out at a push gateway which has not shown yet that it bears more, or that is overloaded; --gateway-slots at most."`
	RequestTimeout time.Duration `name:"request-timeout" default:"75s" env:"POKED_REQUEST_TIMEOUT" help:"Time limit of one poke. Sygnal may take 70s to answer."`
	PokeTTL        time.Duration `name:"poke-ttl" default:"24h" env:"POKED_POKE_TTL" help:"Age at which an undelivered poke becomes a dead letter."`
	CatchUpLimit   int           `name:"catch-up-limit" default:"100" env:"POKED_CATCH_UP_LIMIT" help:"Notifications waiting for one pusher beyond which only the newest of each room is poked."`
	OpenRooms      int           `name:"open-rooms" default:"20000" env:"POKED_OPEN_ROOMS" help:"Rooms whose state is kept in memory."`
	StopGrace      time.Duration `name:"stop-grace" default:"10s" env:"POKED_STOP_GRACE" help:"How long a stop waits for pokes that are out."`
}

// Validate refuses what cannot work, in the words of the command line.
func (c Config) Validate() error {
	switch {
	case c.Slots < 1, c.GatewaySlots < 1, c.GatewayFloor < 1, c.OpenRooms < 1, c.CatchUpLimit < 1:
		return errors.New("--slots, --gateway-slots, --gateway-floor, --open-rooms and --catch-up-limit must be at least 1")
	case c.RequestTimeout <= 0, c.PokeTTL <= 0:
		return errors.New("--request-timeout and --poke-ttl must be positive")
	case c.StopGrace < 0:
		return errors.New("--stop-grace must not be negative")
	}
	return nil
}

// Dispatcher turns room events into pokes.
type Dispatcher struct {
	cfg    Config
	policy *pushgateway.Policy
	conn   *events.Conn
	log    *slog.Logger
	worker string
	dial   dialFunc
	counts counters

	unstored  *semaphore.Weighted // bytes that match may still write before NATS has stored some
	ready     chan struct{}
	readyOnce sync.Once
}

// New returns a dispatcher that opens connections to gateways as policy allows.
// The topology of conn must have been set up.
func New(cfg Config, policy *pushgateway.Policy, conn *events.Conn, log *slog.Logger) (*Dispatcher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure dispatcher: %w", err)
	}
	worker := rand.Text()
	return &Dispatcher{
		cfg: cfg, policy: policy, conn: conn, worker: worker,
		log:   log.With("worker", worker),
		dial:  policy.Dialer(net.Dialer{Timeout: dialTimeout}),
		ready: make(chan struct{}), unstored: semaphore.NewWeighted(unstoredLimit),
	}, nil
}

// Ready is closed when the dispatcher has begun to work for the first time.
func (d *Dispatcher) Ready() <-chan struct{} { return d.ready }

// Stats tells what the dispatcher has done since it began.
func (d *Dispatcher) Stats() Stats { return d.counts.stats() }

// Run works until ctx ends, then finishes what is out within the grace that the
// configuration gives and returns nil. While another dispatcher works it stands
// by.
func (d *Dispatcher) Run(ctx context.Context) error {
	return d.conn.Lead(ctx, d.worker, func(leading context.Context, lease *events.Lease) error {
		err := d.lead(leading, lease)
		switch {
		case ctx.Err() != nil:
			return err
		case errors.Is(err, events.ErrFenced):
			d.log.Warn("giving way", "error", err)
		case err != nil:
			d.log.Error("dispatching came to an end, beginning anew", "error", err)
		}
		return nil // whatever it was, somebody has to go on
	})
}

// lead owns all partitions until ctx ends.
//
//	ctx ──▶ watch PUSHERS and PUSH_RULES ──▶ directory
//	    └─▶ a follower for each partition and stage
//	        when all have returned: connections to gateways are closed, slots end
func (d *Dispatcher) lead(ctx context.Context, lease *events.Lease) error {
	dir := newDirectory(d.policy, d.log, d.conn.Partitions())
	d.counts.lagging.Store(0)
	var slots errgroup.Group
	gates := newGateways(d.cfg.Slots, d.cfg.GatewayFloor, d.cfg.GatewaySlots, func(slot func()) {
		slots.Go(func() error { slot(); return nil })
	})
	gates.lease = lease
	group, ctx := errgroup.WithContext(ctx)
	delivery := newDelivery(d, dir, gates)
	dir.changed = delivery.pushersChanged
	d.work(ctx, group, dir, delivery)
	err := group.Wait()
	delivery.conns.close() // the grace of whoever is still out is over
	gates.close()
	_ = slots.Wait() // a slot returns no error
	return err
}

// work has the directory fed, and everything followed as soon as it knows all
// pushers and push rules.
func (d *Dispatcher) work(ctx context.Context, group *errgroup.Group, dir *directory, delivery *delivery) {
	began := time.Now()
	loaded := d.feed(ctx, group, dir)
	group.Go(func() error {
		for _, bucket := range loaded {
			select {
			case <-bucket:
			case <-ctx.Done():
				return nil
			}
		}
		pushers, rules := dir.sizes()
		d.log.Info("pushers and push rules loaded", "users", pushers, "users_with_rules", rules, "took", time.Since(began))
		return d.follow(ctx, dir, delivery)
	})
}

// feed has the directory follow the buckets that it stands on for as long as ctx
// lasts. The channels are closed when all that each of them held is in.
func (d *Dispatcher) feed(ctx context.Context, group *errgroup.Group, dir *directory) (loaded []<-chan struct{}) {
	for name, bucket := range map[string]func(ready func()) error{
		"pushers":    func(ready func()) error { return dir.watch(ctx, d.conn, ready) },
		"push rules": func(ready func()) error { return d.conn.WatchPushRules(ctx, dir.applyRules, ready) },
	} {
		all := make(chan struct{})
		var once sync.Once
		loaded = append(loaded, all)
		group.Go(func() error {
			d.watch(ctx, name, func() error { return bucket(func() { once.Do(func() { close(all) }) }) })
			return nil
		})
	}
	return loaded
}

// watch watches a bucket, again and again until ctx ends.
func (d *Dispatcher) watch(ctx context.Context, bucket string, watch func() error) {
	for ctx.Err() == nil {
		if err := watch(); err != nil && ctx.Err() == nil {
			d.log.Warn("bucket not watched, trying again", "bucket", bucket, "error", err)
			waitFor(ctx, retryPause)
		}
	}
}
