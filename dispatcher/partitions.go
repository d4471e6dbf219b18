package dispatcher

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"poked/dispatcher/deliver"
	"poked/dispatcher/directory"
	"poked/dispatcher/match"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/partition"
	"poked/events/roomstore"
	"poked/events/wait"
	"poked/events/webpush"
)

// handOver is how long the work on a partition may take to end while another dispatcher
// waits for it. A poke that is in flight for longer is recorded as lagging, and the next
// owner sends it again (G2).
const handOver = deliver.Patience * 3 / 4

// delivery is what all partitions of a dispatcher share, for as long as it runs, and the
// partitions that it owns now.
type delivery struct {
	d     *Dispatcher
	dir   *directory.Directory
	gates *deliver.Gateways
	conns *poke.Conns
	slots *errgroup.Group // delivery slots that run

	matching   match.Config
	delivering deliver.Config

	mu       sync.Mutex
	byPart   []*deliver.Deliverer // nil where the partition is another dispatcher's
	releases releases
}

// open makes what every partition needs.
func (d *Dispatcher) open(lease *partition.Lease) *delivery {
	all := &delivery{d: d, conns: poke.NewConns(d.dial), slots: new(errgroup.Group), byPart: make([]*deliver.Deliverer, d.conn.Topology().Partitions)}
	all.dir = directory.New(d.policy, d.log, d.conn.Topology().Partitions, all.pushersChanged)
	all.gates = deliver.NewGateways(d.cfg.Slots, d.cfg.GatewayFloor, d.cfg.GatewaySlots, lease, func(slot func()) {
		all.slots.Go(func() error { slot(); return nil })
	})
	all.gates.LimitPayloads(d.payloads)
	all.gates.RetireAfter(d.cfg.RetireAfter)
	all.matching = match.Config{
		Conn: d.conn, Rooms: roomstore.New(d.conn), Directory: all.dir, Lease: lease, Counts: &d.matched, Owned: &d.partitions,
		Unstored: match.NewUnstored(), EveryReceipt: d.cfg.DelayIfActive > 0, Rings: d.cfg.Rings, Avatars: d.cfg.RoomAvatars, OpenRooms: d.cfg.OpenRooms,
		Spans: d.spans, Log: d.log,
	}
	all.delivering = deliver.Config{
		Conn: d.conn, Worker: d.worker, Directory: all.dir, Gates: all.gates, Counts: &d.counts,
		Client: poke.NewClient(all.conns.Dial, d.cfg.RequestTimeout, d.cfg.GatewaySlots),
		VAPID:  &d.vapid, Sealer: new(webpush.Sealer),
		PokeTTL: d.cfg.PokeTTL, EventTTL: d.eventTTL, Badge: d.cfg.Badge, DelayIfActive: d.cfg.DelayIfActive, ClearedNotifs: d.cfg.ClearedNotifs, CatchUpLimit: d.cfg.CatchUpLimit,
		Recent: d.cfg.Recent, Owned: &d.partitions,
		Spans: d.spans, Log: d.log,
	}
	return all
}

// close ends the pokes that are still in flight, and the slots.
func (all *delivery) close() {
	all.conns.Close()
	all.gates.Close()
	_ = all.slots.Wait() // a slot returns no error
}

// at returns the deliverer of a partition, or nil if another dispatcher owns it.
func (all *delivery) at(part int) *deliver.Deliverer {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.byPart[part]
}

// deliverers returns those of all owned partitions.
func (all *delivery) deliverers() []*deliver.Deliverer {
	all.mu.Lock()
	defer all.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(all.byPart), func(d *deliver.Deliverer) bool { return d == nil })
}

func (all *delivery) put(part int, dl *deliver.Deliverer) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.byPart[part] = dl
}

// pushersChanged passes a change on to the deliverer of the user's partition, if it is owned.
func (all *delivery) pushersChanged(user events.UserID) {
	if dl := all.at(events.PartitionOf(events.Token(user), len(all.byPart))); dl != nil {
		dl.PushersChanged(user)
	}
}

// own works on all stages of a partition until ctx ends. When it returns nothing of the
// partition is left but pokes in flight, whose outcome is ignored.
func (all *delivery) own(ctx context.Context, t *partition.Tenure) error {
	d := all.d
	if err := wait.Until(ctx, wait.RetryPause, d.waiting, func() error { return all.gain(ctx, t.Part) }); err != nil {
		return nil // ctx ended before the work began
	}
	defer all.releases.add(t.Part)
	dl, leave := all.enter(t.Part)
	defer leave()
	drain := wait.Drain{Grace: d.cfg.StopGrace, Hurry: handOver, Wanted: t.Wanted}
	prepared := []func() (stage, error){
		func() (stage, error) { return all.match(ctx, partition.StageMatch, t.Part, drain) },
		func() (stage, error) { return all.deliver(ctx, dl, t.Part, drain) },
	}
	if t.Part == 0 {
		prepared = append(prepared, func() (stage, error) { return all.match(ctx, partition.StageStrays, t.Part, drain) })
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
			return nil // ctx ended before the work began
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

// enter makes the deliverer of a partition. leave ends its work and releases its lanes.
func (all *delivery) enter(part int) (dl *deliver.Deliverer, leave func()) {
	cfg := all.delivering
	cfg.Part, cfg.Log = part, cfg.Log.With("stage", partition.StageDeliver.Name, "part", part)
	dl = deliver.New(cfg)
	stop := dl.Start()
	all.put(part, dl) // before it reads any pushers, so that no change is missed
	return dl, func() {
		stop()
		all.put(part, nil)
		dl.Release()
	}
}

// stage processes one partition of one stage until its context ends.
type stage func(ctx context.Context) error

func (d *Dispatcher) waiting(err error) {
	d.log.Warn("dispatcher waits for nats", "error", err)
}

// match prepares a stage that follows ROOMS.
func (all *delivery) match(ctx context.Context, of partition.Stage, part int, drain wait.Drain) (stage, error) {
	f, err := all.d.group.Follow(ctx, of, part, all.d.worker)
	if err != nil {
		return nil, err
	}
	cfg := all.matching
	cfg.Log = cfg.Log.With("stage", of.Name, "part", part)
	m, err := match.New(cfg, f)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return m.Run(ctx, drain) }, nil
}

// deliver prepares the stage that follows NOTIFICATIONS.
func (all *delivery) deliver(ctx context.Context, dl *deliver.Deliverer, part int, drain wait.Drain) (stage, error) {
	f, err := all.d.group.Follow(ctx, partition.StageDeliver, part, all.d.worker)
	if err != nil {
		return nil, err
	}
	if err := dl.Prepare(ctx, f, part); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return dl.Run(ctx, drain) }, nil
}
