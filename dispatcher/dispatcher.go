// Package dispatcher turns room events into pokes. It holds no SQL and no queue:
// what it has not done yet stands in NATS.
//
//	ROOMS ──▶ matcher ──▶ NOTIFICATIONS ──▶ deliverer ──▶ lane ──▶ gateways ──▶ slot ──▶ POST
//	  by room    │            by user           │          one a      share       │
//	             │                              │        pusher      the slots    │
//	     rooms, pushrule                 unread counts      ▲                     │
//	                                                        └── settle(outcome) ◀─┘
//	directory ◀── PUSHERS                        lag ──▶ BACKLOG ──▶ timer ──▶ log, from position
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
// A lane lags whose poke fails or is out for a second, that waits at a gateway
// which hangs, or that has more to tell than a lane may keep open: its
// position in its user's notifications goes into BACKLOG, its queue is dropped,
// and later notifications cost it nothing (G7). When its time comes it reads on
// from the position. The log is the queue; failure is a position that stands
// still.
//
// # Slots and gateways
//
// A slot makes one attempt and takes the next lane; it never waits. Lanes wait
// at their gateway, which has at most its share of the slots, so a gateway that
// hangs holds its share and nothing else (G4). Retry-After pauses a whole
// gateway (G6). A gateway that is down is probed; the first success wakes all who
// lag there (G5).
//
// # What fails, and how
//
//	NATS away                  reading and writing go on when it is back; pokes that are out come home
//	notification not stored    the event is matched again; who has the notification already is left out
//	gateway fails, or hangs    outcome decided in one place (decide), the lane lags, others do not notice
//	backlog not stored         the notification stays open, written again by the next tick
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

	"poked/events"
	"poked/events/pushgateway"
)

// Config is what an operator may choose of a dispatcher.
type Config struct {
	Slots          int           `name:"slots" default:"1024" env:"POKED_SLOTS" help:"Pokes that may be out at the same time."`
	GatewaySlots   int           `name:"gateway-slots" default:"256" env:"POKED_GATEWAY_SLOTS" help:"Pokes that may be out at one push gateway at the same time."`
	RequestTimeout time.Duration `name:"request-timeout" default:"75s" env:"POKED_REQUEST_TIMEOUT" help:"Time limit of one poke. Sygnal may take 70s to answer."`
	PokeTTL        time.Duration `name:"poke-ttl" default:"24h" env:"POKED_POKE_TTL" help:"Age at which an undelivered poke becomes a dead letter."`
	OpenRooms      int           `name:"open-rooms" default:"20000" env:"POKED_OPEN_ROOMS" help:"Rooms whose state is kept in memory."`
	StopGrace      time.Duration `name:"stop-grace" default:"10s" env:"POKED_STOP_GRACE" help:"How long a stop waits for pokes that are out."`
}

// Validate refuses what cannot work, in the words of the command line.
func (c Config) Validate() error {
	switch {
	case c.Slots < 1, c.GatewaySlots < 1, c.OpenRooms < 1:
		return errors.New("--slots, --gateway-slots and --open-rooms must be at least 1")
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
		ready: make(chan struct{}),
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
	return d.conn.Lead(ctx, d.worker, d.lead)
}

// lead owns all partitions until ctx ends.
//
//	ctx ──▶ watch PUSHERS ──▶ directory
//	    └─▶ a follower for each partition and stage
//	        when all have returned: connections to gateways are closed, slots end
func (d *Dispatcher) lead(ctx context.Context) error {
	dir := newDirectory(d.policy, d.log)
	d.counts.lagging.Store(0)
	var slots errgroup.Group
	gates := newGateways(d.cfg.Slots, d.cfg.GatewaySlots, func(slot func()) {
		slots.Go(func() error { slot(); return nil })
	})
	group, ctx := errgroup.WithContext(ctx)
	loaded := make(chan struct{})
	delivery := newDelivery(d, dir, gates)
	dir.changed = delivery.pushersChanged
	group.Go(func() error { return d.watch(ctx, dir, loaded) })
	group.Go(func() error {
		select {
		case <-loaded:
		case <-ctx.Done():
			return nil
		}
		return d.follow(ctx, dir, delivery)
	})
	err := group.Wait()
	delivery.conns.close() // the grace of whoever is still out is over
	gates.close()
	_ = slots.Wait() // a slot returns no error
	if errors.Is(err, events.ErrFenced) {
		d.log.Warn("giving way", "error", err)
		return nil
	}
	return err
}

// watch feeds the directory for as long as ctx lasts.
func (d *Dispatcher) watch(ctx context.Context, dir *directory, loaded chan<- struct{}) error {
	began := time.Now()
	first := true
	for ctx.Err() == nil {
		err := d.conn.WatchPushers(ctx, dir.apply, func() {
			if first {
				d.log.Info("pushers loaded", "users", dir.size(), "took", time.Since(began))
				close(loaded)
				first = false
			}
		})
		if err != nil && ctx.Err() == nil {
			d.log.Warn("pushers not watched, trying again", "error", err)
			waitFor(ctx, retryPause)
		}
	}
	return nil
}
