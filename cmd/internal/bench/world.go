package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/cmd/internal/child"
	"poked/cmd/internal/node"
	"poked/dispatcher"
	"poked/events"
	"poked/events/publish"
	"poked/events/pushgateway"
	"poked/events/stream"
)

// worldOptions configure a world.
type worldOptions struct {
	groups     int      // of users, each with a pusher
	fanout     int      // users in a group, all notified by an event
	roomsEach  int      // rooms of each group
	gateways   []string // URLs, assigned to users in turn
	browsers   int      // of 100 users at a gateway, how many have a browser
	dispatcher dispatcher.Config
	fsync      node.FsyncFlag
	outside    bool            // dispatchers are separate processes, started by the caller
	separate   bool            // so is NATS, started by the world; needs outside
	trace      stream.Topology // of which TraceFor and TraceBytes count
	profile    string          // file for a CPU profile of the separate NATS; empty for none
}

// world is a homeserver, a dispatcher and the NATS between them. Each room has a sender
// without a pusher and the members of a group, who have one each.
type world struct {
	worldOptions

	dir       string
	rooms     []events.RoomID
	published int

	nats   *node.EmbeddedNATS // nil if it is a separate process
	apart  *process           // that process
	conn   *stream.Conn       // the homeserver's
	worker *stream.Conn       // the dispatcher's
	d      *dispatcher.Dispatcher
	stop   context.CancelFunc
	ended  chan error
}

func newWorld(ctx context.Context, options worldOptions, log *slog.Logger) (_ *world, err error) {
	w := &world{worldOptions: options, stop: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dir, err = os.MkdirTemp("", "poked-bench-"); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	if err := w.startNATS(ctx, log); err != nil {
		return nil, err
	}
	for _, conn := range []**stream.Conn{&w.conn, &w.worker} {
		if *conn, err = stream.Connect(ctx, w.connectTo(log)); err != nil {
			return nil, err
		}
		if err := (*conn).Setup(ctx, stream.Topology{
			Partitions: stream.DefaultPartitions, Replicas: 1, TraceFor: w.trace.TraceFor, TraceBytes: w.trace.TraceBytes,
		}); err != nil {
			return nil, err
		}
	}
	if err := w.populate(ctx); err != nil {
		return nil, err
	}
	if w.outside {
		return w, nil
	}
	return w, w.dispatch(ctx, log)
}

func (w *world) startNATS(ctx context.Context, log *slog.Logger) (err error) {
	if w.separate {
		w.apart, err = startProcess(ctx, "bench-nats", w.dir, "--fsync", w.fsync.String(), "--profile", w.profile)
		return err
	}
	listen := ""
	if w.outside {
		listen = child.Host + ":0"
	}
	w.nats, err = node.StartNATS(node.NATSOptions{Dir: w.dir, Listen: listen, Sync: w.fsync, Log: log})
	return err
}

// url returns the URL of NATS for other processes.
func (w *world) url() string {
	if w.apart != nil {
		return w.apart.url
	}
	return "nats://" + w.nats.Where()
}

func (w *world) connectTo(log *slog.Logger) stream.Config {
	if w.apart != nil {
		return stream.Config{URL: w.url(), Name: "bench", Log: log}
	}
	return stream.Config{Name: "bench", InProcess: w.nats, Log: log}
}

func (w *world) dispatch(ctx context.Context, log *slog.Logger) error {
	policy, err := pushgateway.NewPolicy([]string{"127.0.0.1"}, nil, true)
	if err != nil {
		return fmt.Errorf("allow the sink: %w", err)
	}
	if w.d, err = dispatcher.New(w.dispatcher, policy, w.worker, log); err != nil {
		return err
	}
	ctx, w.stop = context.WithCancel(ctx)
	w.ended = make(chan error, 1)
	go func() { w.ended <- w.d.Run(ctx) }() // close waits for it
	select {
	case <-w.d.Ready():
		return nil
	case err := <-w.ended:
		w.ended <- nil
		return errors.Join(errors.New("the dispatcher ended"), err)
	}
}

// populate registers a pusher for each user and creates the rooms.
func (w *world) populate(ctx context.Context) error {
	if err := w.identify(ctx); err != nil {
		return err
	}
	publisher := publish.NewPublisher(w.conn)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for n := range w.groups * w.roomsEach {
		room := events.RoomID("!room" + strconv.Itoa(n) + ":bench.example")
		w.rooms = append(w.rooms, room)
		group.Go(func() error { return w.makeRoom(ctx, publisher, room, n%w.groups) })
		if n < w.groups {
			group.Go(func() error { return w.register(ctx, n) })
		}
	}
	return group.Wait()
}

// member returns the mth user of a group.
func (w *world) member(group, m int) events.UserID {
	return events.UserID(fmt.Sprintf("@user-%d-%d:bench.example", group, m))
}

// gatewayOf returns the URL of the gateway of the mth user of a group.
func (w *world) gatewayOf(group, m int) string {
	return w.gateways[(group*w.fanout+m)%len(w.gateways)]
}

func (w *world) register(ctx context.Context, group int) error {
	for m := range w.fanout {
		user, gateway := w.member(group, m), w.gatewayOf(group, m)
		pusher := events.Pusher{
			AppID: "org.example.bench", Pushkey: "key-" + string(user), Kind: events.KindHTTP, Lang: "en", PushkeyTS: 1,
			Data: []byte(`{"url":"` + gateway + pushgateway.NotifyPath + `"}`),
		}
		if w.hasBrowser(group, m) {
			if err := subscribe(&pusher, gateway); err != nil {
				return err
			}
		}
		if err := w.conn.PutPushers(ctx, events.UserPushers{UserID: user, Version: 1, Pushers: []events.Pusher{pusher}}); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) makeRoom(ctx context.Context, publisher *publish.Publisher, room events.RoomID, group int) error {
	state := func(kind, key, content string) error {
		return publisher.Event(ctx, fmt.Appendf(nil, `{"event_id":"$%s-%s-%s","room_id":%q,"type":%q,"sender":"@sender:bench.example","state_key":%q,"content":%s}`,
			strings.Trim(string(room), "!"), kind, key, room, kind, key, content), publish.Historical())
	}
	errs := []error{
		state("m.room.create", "", `{"room_version":"11"}`),
		state("m.room.name", "", `{"name":"Benchmark"}`),
		state("m.room.member", "@sender:bench.example", `{"membership":"join","displayname":"Sender"}`),
	}
	for m := range w.fanout {
		errs = append(errs, state("m.room.member", string(w.member(group, m)), `{"membership":"join"}`))
	}
	return errors.Join(errs...)
}

// clearedPatience is how long read notifications may stay in the log.
const clearedPatience = 10 * time.Second

// cleared calls read and returns when n notifications have left the log.
func (w *world) cleared(ctx context.Context, n int, read func() error) error {
	before := w.d.Stats().Read
	if err := read(); err != nil {
		return err
	}
	return await(ctx, clearedPatience, func() bool { return w.d.Stats().Read-before >= uint64(n) }) //nolint:gosec // n is not negative
}

// await returns when a condition holds, and fails if that takes too long.
func await(ctx context.Context, patience time.Duration, isSo func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not within %s", patience))
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !isSo() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// settlePatience is how long nothing may change before the benchmark fails. It is longer
// than any interval between two probes.
const settlePatience = 90 * time.Second

// settle returns when left returns 0. It fails if that does not change for long, or the
// dispatcher has ended.
func (w *world) settle(ctx context.Context, progress func(string, ...any), left func() int64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	changed, told, last := time.Now(), time.Now(), int64(-1)
	for {
		now := left()
		switch {
		case now == 0:
			return nil
		case now != last:
			last, changed = now, time.Now()
		case time.Since(changed) > settlePatience:
			return fmt.Errorf("no progress, %d still to go", now)
		}
		if time.Since(told) >= time.Second {
			progress("%d to go", now)
			told = time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-w.ended:
			w.ended <- nil // close waits for it
			return errors.Join(errors.New("the dispatcher ended"), err)
		case <-tick.C:
		}
	}
}

func (w *world) close() error {
	var errs []error
	w.stop()
	if w.ended != nil {
		errs = append(errs, <-w.ended)
	}
	for _, conn := range []*stream.Conn{w.conn, w.worker} {
		if conn != nil {
			errs = append(errs, conn.Close())
		}
	}
	if w.nats != nil {
		w.nats.Stop()
	}
	if w.apart != nil {
		w.apart.stop()
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}
