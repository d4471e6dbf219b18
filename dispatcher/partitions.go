package dispatcher

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/wait"
)

// matchGrace is how long a stop waits for notifications to be stored.
const matchGrace = 5 * time.Second

// delivery is what all partitions of a dispatcher have in common, which lives as
// long as the dispatcher works, and the partitions, which come and go.
type delivery struct {
	d      *Dispatcher
	dir    *directory
	gates  *gateways
	client *client
	conns  *openConns
	slots  *errgroup.Group // the slots that run

	mu     sync.Mutex
	byPart []*deliverer // nil where the partition is another dispatcher's
	shed   shed
}

// open makes ready what every partition needs.
func (d *Dispatcher) open(lease *events.Lease) *delivery {
	all := &delivery{
		d: d, dir: newDirectory(d.policy, d.log, d.conn.Partitions()), conns: newOpenConns(d.dial), slots: new(errgroup.Group),
		byPart: make([]*deliverer, d.conn.Partitions()),
	}
	all.gates = newGateways(d.cfg.Slots, d.cfg.GatewayFloor, d.cfg.GatewaySlots, func(slot func()) {
		all.slots.Go(func() error { slot(); return nil })
	})
	all.gates.lease = lease
	all.client = newClient(all.conns.dial, d.cfg.RequestTimeout, d.cfg.GatewaySlots)
	all.dir.changed = all.pushersChanged
	return all
}

// close ends the pokes that are still out, and the slots.
func (all *delivery) close() {
	all.conns.close()
	all.gates.close()
	_ = all.slots.Wait() // a slot returns no error
}

// at returns the deliverer of a partition, or nil if that is another dispatcher's.
func (all *delivery) at(part int) *deliverer {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.byPart[part]
}

// deliverers returns those of the partitions that are here.
func (all *delivery) deliverers() []*deliverer {
	all.mu.Lock()
	defer all.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(all.byPart), func(d *deliverer) bool { return d == nil })
}

func (all *delivery) put(part int, dl *deliverer) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.byPart[part] = dl
}

// pushersChanged tells the deliverer that the user belongs to, if it is here.
func (all *delivery) pushersChanged(user events.UserID) {
	if dl := all.at(events.PartitionOf(events.Token(user), len(all.byPart))); dl != nil {
		dl.pushersChanged(user)
	}
}

// own works on all stages of a partition until ctx ends. When it has returned
// nothing of the partition is left, but pokes that are out and whose outcome
// interests nobody any more.
func (all *delivery) own(ctx context.Context, t *events.Tenure) error {
	d := all.d
	if err := wait.Until(ctx, wait.RetryPause, d.waiting, func() error { return all.gain(ctx, t.Part) }); err != nil {
		return nil // it was to end before it began
	}
	defer all.shed.add(t.Part)
	dl, leave := all.enter(t.Part)
	defer leave()
	end := farewell{grace: d.cfg.StopGrace, wanted: t.Wanted}
	matched := func(ctx context.Context, of events.Stage) (stage, error) {
		return d.prepareMatch(ctx, of, all.dir, all.gates.lease, t.Part, end)
	}
	prepared := []func() (stage, error){
		func() (stage, error) { return matched(ctx, events.StageMatch) },
		func() (stage, error) { return d.prepareDeliver(ctx, dl, t.Part, end) },
	}
	if t.Part == 0 {
		prepared = append(prepared, func() (stage, error) { return matched(ctx, events.StageStrays) })
	}
	var stages []stage
	for _, prepare := range prepared {
		err := wait.Until(ctx, wait.RetryPause, d.waiting, func() error {
			s, err := prepare()
			if err == nil {
				stages = append(stages, s)
			}
			return err
		})
		if err != nil {
			return nil // it was to end before it began
		}
	}
	t.Prepared(ctx)
	d.partitions.Add(1)
	defer d.partitions.Add(-1)
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range stages {
		group.Go(func() error { return run(ctx) })
	}
	return group.Wait()
}

// enter makes the deliverer of a partition. leave has nothing of it be left.
func (all *delivery) enter(part int) (dl *deliverer, leave func()) {
	d := all.d
	dl = newDeliverer(&deliverer{
		conn: d.conn, worker: d.worker, dir: all.dir, gates: all.gates, client: all.client, counts: &d.counts, ttl: d.cfg.PokeTTL,
		badge: d.cfg.Badge, delayIfActive: d.cfg.DelayIfActive,
		log: d.log.With("stage", events.StageDeliver.Name, "part", part),
	})
	dl.catcher = newCatcher(dl, d.cfg.CatchUpLimit)
	stopReading, stopWriting := dl.catcher.start(), dl.backlog.start()
	all.put(part, dl) // before it looks for anybody's pushers: no change is missed
	return dl, func() {
		dl.end()
		stopReading()
		stopWriting()
		all.put(part, nil)
		dl.abandon()
	}
}

// stage is one partition of one stage, ready to be worked through.
type stage func(ctx context.Context) error

func (d *Dispatcher) waiting(err error) {
	d.log.Warn("dispatcher waits for nats", "error", err)
}

// prepareMatch makes ready a stage that follows ROOMS.
func (d *Dispatcher) prepareMatch(ctx context.Context, of events.Stage, dir *directory, lease *events.Lease, part int, end farewell) (stage, error) {
	f, err := d.conn.Follow(ctx, of, part, d.worker)
	if err != nil {
		return nil, err
	}
	rooms, err := newRooms(d.conn, d.cfg.OpenRooms, f.Cursor())
	if err != nil {
		return nil, err
	}
	archive, err := newArchive(d.conn)
	if err != nil {
		return nil, err
	}
	log := d.log.With("stage", of.Name, "part", part)
	m := &matcher{
		conn: d.conn, dir: dir, rooms: rooms, archive: archive, searches: newSearches(d.conn, archive, log, f.Resume), follower: f, lease: lease, counts: &d.matched, owned: &d.partitions,
		unstored: d.unstored, telling: d.cfg.DelayIfActive > 0, turns: newInTurn(),
		log: log,
	}
	end.grace = matchGrace
	finish := func() { end.waitUntil(func() bool { return m.writing.Load() == 0 }) }
	return func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		var beside sync.WaitGroup
		defer beside.Wait()
		defer cancel()
		beside.Go(func() { m.searches.run(ctx) })
		return f.Run(ctx, m.handler(), finish)
	}, nil
}

func (d *Dispatcher) prepareDeliver(ctx context.Context, dl *deliverer, part int, end farewell) (stage, error) {
	f, err := d.conn.Follow(ctx, events.StageDeliver, part, d.worker)
	if err != nil {
		return nil, err
	}
	lagging, err := d.conn.LoadBacklog(ctx, part)
	if err != nil {
		return nil, err
	}
	dl.find(part, lagging)
	if err := dl.hearOf(ctx, lagging); err != nil {
		return nil, err
	}
	dl.restore(f, lagging)
	return func(ctx context.Context) error { return f.Run(ctx, dl.handler(), func() { dl.finish(end) }) }, nil
}
