package dispatcher

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/events"
)

// matchGrace is how long a stop waits for notifications to be stored.
const matchGrace = 5 * time.Second

// delivery is the deliverers of all partitions.
type delivery struct {
	conns  *openConns
	gates  *gateways
	byPart []*deliverer
}

func newDelivery(d *Dispatcher, dir *directory, gates *gateways) *delivery {
	all := &delivery{conns: newOpenConns(d.dial), gates: gates}
	shared := newClient(all.conns.dial, d.cfg.RequestTimeout, d.cfg.GatewaySlots)
	for part := range d.conn.Partitions() {
		dl := newDeliverer(&deliverer{
			conn: d.conn, dir: dir, gates: gates, client: shared, counts: &d.counts, ttl: d.cfg.PokeTTL,
			log: d.log.With("stage", events.StageDeliver.Name, "part", part),
		})
		dl.catcher = newCatcher(dl, d.cfg.CatchUpLimit)
		all.byPart = append(all.byPart, dl)
	}
	return all
}

// pushersChanged tells the deliverer that the user belongs to.
func (all *delivery) pushersChanged(user events.UserID) {
	all.byPart[events.PartitionOf(events.Token(user), len(all.byPart))].pushersChanged(user)
}

// stage is one partition of one stage, ready to be worked through.
type stage func(ctx context.Context) error

// follow works through every partition of both stages, and answers operators,
// until ctx ends or one of them cannot go on.
func (d *Dispatcher) follow(ctx context.Context, dir *directory, all *delivery) error {
	var stages []stage
	for part := range d.conn.Partitions() {
		for _, prepare := range []func() (stage, error){
			func() (stage, error) { return d.prepareMatch(ctx, dir, all.gates.lease, part) },
			func() (stage, error) { return d.prepareDeliver(ctx, all.byPart[part], part) },
		} {
			var ready stage
			err := persist(ctx, d.waiting, func() (err error) {
				ready, err = prepare()
				return err
			})
			if err != nil {
				return nil //nolint:nilerr // stopped before it began
			}
			stages = append(stages, ready)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range stages {
		group.Go(func() error { return run(ctx) })
	}
	group.Go(func() error { d.serveOperator(ctx, all); return nil })
	d.log.Info("dispatching", "partitions", d.conn.Partitions())
	d.readyOnce.Do(func() { close(d.ready) })
	return group.Wait()
}

func (d *Dispatcher) waiting(err error) {
	d.log.Warn("dispatcher waits for nats", "error", err)
}

func (d *Dispatcher) prepareMatch(ctx context.Context, dir *directory, lease *events.Lease, part int) (stage, error) {
	f, err := d.conn.Follow(ctx, events.StageMatch, part, d.worker)
	if err != nil {
		return nil, err
	}
	rooms, err := newRooms(d.conn, d.cfg.OpenRooms/d.conn.Partitions())
	if err != nil {
		return nil, err
	}
	m := &matcher{
		conn: d.conn, dir: dir, rooms: rooms, follower: f, lease: lease, counts: &d.counts, unstored: d.unstored,
		log: d.log.With("stage", events.StageMatch.Name, "part", part),
	}
	finish := func() { waitUntil(matchGrace, func() bool { return f.Open() == 0 }) }
	return func(ctx context.Context) error { return f.Run(ctx, m.handler(), finish) }, nil
}

func (d *Dispatcher) prepareDeliver(ctx context.Context, dl *deliverer, part int) (stage, error) {
	f, err := d.conn.Follow(ctx, events.StageDeliver, part, d.worker)
	if err != nil {
		return nil, err
	}
	lagging, err := d.conn.LoadBacklog(ctx, part)
	if err != nil {
		return nil, err
	}
	dl.restore(f, lagging)
	finish := func() { dl.finish(d.cfg.StopGrace) }
	return func(ctx context.Context) error {
		defer dl.catcher.start()()
		defer dl.end()
		return f.Run(ctx, dl.handler(), finish)
	}, nil
}
