package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"poked/cmd/internal/node"
	"poked/dispatcher"
	"poked/events"
	"poked/events/publish"
	"poked/events/pushgateway"
	"poked/events/stream"
)

// maxAhead is how many events may be published but not acknowledged.
const maxAhead = 512

// worldOptions configure a world.
type worldOptions struct {
	groups     int      // of users, each with a pusher
	fanout     int      // users in a group, all notified by an event
	roomsEach  int      // rooms of each group
	gateways   []string // URLs, assigned to users in turn
	dispatcher dispatcher.Config
	fsync      node.FsyncFlag
	outside    bool // dispatchers are separate processes, started by the caller
}

// world is a homeserver, a dispatcher and the NATS between them. Each room has a sender
// without a pusher and the members of a group, who have one each.
type world struct {
	worldOptions

	dir       string
	rooms     []events.RoomID
	published int

	nats   *node.EmbeddedNATS
	conn   *stream.Conn // the homeserver's
	worker *stream.Conn // the dispatcher's
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
	listen := ""
	if w.outside {
		listen = "127.0.0.1:0"
	}
	if w.nats, err = node.StartNATS(node.NATSOptions{Dir: w.dir, Listen: listen, Sync: w.fsync, Log: log}); err != nil {
		return nil, err
	}
	for _, conn := range []**stream.Conn{&w.conn, &w.worker} {
		if *conn, err = stream.Connect(ctx, stream.Config{Name: "bench", InProcess: w.nats, Log: log}); err != nil {
			return nil, err
		}
		if err := (*conn).Setup(ctx, stream.Topology{Partitions: stream.DefaultPartitions, Replicas: 1}); err != nil {
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

func (w *world) register(ctx context.Context, group int) error {
	for m := range w.fanout {
		user, gateway := w.member(group, m), w.gateways[(group*w.fanout+m)%len(w.gateways)]
		if err := w.conn.PutPushers(ctx, events.UserPushers{
			UserID: user, Version: 1,
			Pushers: []events.Pusher{{
				AppID: "org.example.bench", Pushkey: "key-" + string(user), Kind: "http", Lang: "en", PushkeyTS: 1,
				Data: []byte(`{"url":"` + gateway + pushgateway.NotifyPath + `"}`),
			}},
		}); err != nil {
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

// publish publishes n messages, spread over the rooms, as fast as NATS stores them. It
// returns when all are stored.
func (w *world) publish(ctx context.Context, n int) error {
	return w.publishAll(ctx, n, w.publishOne)
}

// publishAll calls publish n times, once per message.
func (w *world) publishAll(ctx context.Context, n int, publish func(done func(error))) error {
	ahead := semaphore.NewWeighted(maxAhead)
	var failed atomic.Pointer[error]
	for range n {
		if err := ahead.Acquire(ctx, 1); err != nil {
			return err
		}
		publish(func(err error) {
			if err != nil {
				failed.Store(&err)
			}
			ahead.Release(1)
		})
	}
	if err := ahead.Acquire(ctx, maxAhead); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (w *world) publishOne(done func(error)) {
	w.publishIn(w.rooms[(w.published+1)%len(w.rooms)], done)
}

// publishIn publishes a message in a room.
func (w *world) publishIn(room events.RoomID, done func(error)) {
	w.published++
	publish.NewPublisher(w.conn).EventAsync(fmt.Appendf(nil,
		`{"event_id":"$message-%d","room_id":%q,"type":"m.room.message","sender":"@sender:bench.example","origin_server_ts":%d,"content":%s}`,
		w.published, room, time.Now().UnixMilli(), content()), done)
}

// latest returns the last published message.
func (w *world) latest() events.EventID {
	return events.EventID("$message-" + strconv.Itoa(w.published))
}

// read publishes a receipt of a user for a message, with a thread_id unless thread is
// empty.
func (w *world) read(ctx context.Context, user events.UserID, room events.RoomID, message events.EventID, thread string) error {
	data := `{"ts":1}`
	if thread != "" {
		data = fmt.Sprintf(`{"ts":1,"thread_id":%q}`, thread)
	}
	return publish.NewPublisher(w.conn).Receipt(ctx,
		fmt.Appendf(nil, `{"type":"m.receipt","room_id":%q,"content":{%q:{"m.read":{%q:%s}}}}`, room, message, user, data))
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

// content returns the content of a message, with the time when it was sent. A poke with it
// has about 800 bytes.
func content() []byte {
	return fmt.Appendf(nil, `{"msgtype":"m.text","sent_at":%d,"body":"%0300d"}`, time.Now().UnixNano(), 0)
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
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}
