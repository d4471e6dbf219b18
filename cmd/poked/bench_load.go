package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"poked/dispatcher"
	"poked/events"
	"poked/events/pushgateway"
)

const (
	// benchUsers is about how many users with a pusher a world has.
	benchUsers = 5000
	// benchAhead is how many events may be on their way to NATS.
	benchAhead = 512
)

// benchWorld is a homeserver, a dispatcher and the NATS between them. Each room
// has a sender without a pusher and fanout members with one.
type benchWorld struct {
	dir       string
	fanout    int
	rooms     []events.RoomID
	published int

	nats   *embeddedNATS
	conn   *events.Conn // the homeserver's
	worker *events.Conn // the dispatcher's
	stop   context.CancelFunc
	ended  chan error
}

func newBenchWorld(ctx context.Context, c benchCmd, sinkURL string, fanout int, log *slog.Logger) (_ *benchWorld, err error) {
	w := &benchWorld{fanout: fanout, stop: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dir, err = os.MkdirTemp("", "poked-bench-"); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	if w.nats, err = startNATS(natsOptions{dir: w.dir, sync: c.Fsync, log: log}); err != nil {
		return nil, err
	}
	for _, conn := range []**events.Conn{&w.conn, &w.worker} {
		if *conn, err = events.Connect(ctx, events.Config{Name: "bench", InProcess: w.nats, Log: log}); err != nil {
			return nil, err
		}
		if err := (*conn).Setup(ctx, events.Topology{Partitions: events.DefaultPartitions, Replicas: 1}); err != nil {
			return nil, err
		}
	}
	if err := w.populate(ctx, sinkURL); err != nil {
		return nil, err
	}
	return w, w.dispatch(ctx, c, log)
}

func (w *benchWorld) dispatch(ctx context.Context, c benchCmd, log *slog.Logger) error {
	policy, err := pushgateway.NewPolicy([]string{"127.0.0.1"}, nil, true)
	if err != nil {
		return fmt.Errorf("allow the sink: %w", err)
	}
	d, err := dispatcher.New(dispatcher.Config{
		Slots: c.Concurrency, GatewaySlots: c.Concurrency, GatewayFloor: 8, CatchUpLimit: math.MaxInt32,
		RequestTimeout: 75 * time.Second, PokeTTL: 24 * time.Hour,
		OpenRooms: 2 * len(w.rooms) * events.DefaultPartitions, StopGrace: 10 * time.Second,
	}, policy, w.worker, log)
	if err != nil {
		return err
	}
	ctx, w.stop = context.WithCancel(ctx)
	w.ended = make(chan error, 1)
	go func() { w.ended <- d.Run(ctx) }() // close waits for it
	select {
	case <-d.Ready():
		return nil
	case err := <-w.ended:
		w.ended <- nil
		return errors.Join(errors.New("the dispatcher ended"), err)
	}
}

// populate makes the rooms and registers a pusher for each member.
func (w *benchWorld) populate(ctx context.Context, sinkURL string) error {
	publisher := events.NewPublisher(w.conn)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for n := range max(benchUsers/w.fanout, events.DefaultPartitions) {
		room := events.RoomID("!room" + strconv.Itoa(n) + ":bench.example")
		w.rooms = append(w.rooms, room)
		group.Go(func() error { return w.makeRoom(ctx, publisher, room, n, sinkURL) })
	}
	return group.Wait()
}

func (w *benchWorld) makeRoom(ctx context.Context, publisher *events.Publisher, room events.RoomID, n int, sinkURL string) error {
	state := func(kind, key, content string) error {
		return publisher.Event(ctx, fmt.Appendf(nil, `{"event_id":"$%s-%s-%s","room_id":%q,"type":%q,"sender":"@sender:bench.example","state_key":%q,"content":%s}`,
			strings.Trim(string(room), "!"), kind, key, room, kind, key, content), events.Historical())
	}
	errs := []error{
		state("m.room.create", "", `{"room_version":"11"}`),
		state("m.room.name", "", `{"name":"Benchmark"}`),
		state("m.room.member", "@sender:bench.example", `{"membership":"join","displayname":"Sender"}`),
	}
	for m := range w.fanout {
		user := events.UserID(fmt.Sprintf("@user-%d-%d:bench.example", n, m))
		errs = append(errs, state("m.room.member", string(user), `{"membership":"join"}`), w.conn.PutPushers(ctx, events.UserPushers{
			UserID: user, Version: 1,
			Pushers: []events.Pusher{{
				AppID: "org.example.bench", Pushkey: "key-" + string(user), Kind: "http", Lang: "en", PushkeyTS: 1,
				Data: []byte(`{"url":"` + sinkURL + pushgateway.NotifyPath + `"}`),
			}},
		}))
	}
	return errors.Join(errs...)
}

// publish publishes n messages, spread over the rooms, as fast as NATS stores
// them, and returns when all are stored.
func (w *benchWorld) publish(ctx context.Context, n int) error {
	ahead := semaphore.NewWeighted(benchAhead)
	var failed atomic.Pointer[error]
	for range n {
		if err := ahead.Acquire(ctx, 1); err != nil {
			return err
		}
		w.publishOne(func(err error) {
			if err != nil {
				failed.Store(&err)
			}
			ahead.Release(1)
		})
	}
	if err := ahead.Acquire(ctx, benchAhead); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (w *benchWorld) publishOne(done func(error)) {
	w.published++
	room := w.rooms[w.published%len(w.rooms)]
	events.NewPublisher(w.conn).EventAsync(fmt.Appendf(nil,
		`{"event_id":"$message-%d","room_id":%q,"type":"m.room.message","sender":"@sender:bench.example","origin_server_ts":1,"content":%s}`,
		w.published, room, benchContent()), done)
}

// benchContent is a message that says when it was sent. A poke with it has about
// 800 bytes.
func benchContent() []byte {
	return fmt.Appendf(nil, `{"msgtype":"m.text","sent_at":%d,"body":"%0300d"}`, time.Now().UnixNano(), 0)
}

func (w *benchWorld) close() error {
	var errs []error
	w.stop()
	if w.ended != nil {
		errs = append(errs, <-w.ended)
	}
	for _, conn := range []*events.Conn{w.conn, w.worker} {
		if conn != nil {
			errs = append(errs, conn.Close())
		}
	}
	if w.nats != nil {
		w.nats.stop()
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// bareLoop posts with net/http what a dispatcher would post, and nothing else.
type bareLoop struct {
	url         string
	concurrency int
	client      *http.Client
	posted      atomic.Int64
}

func newBareLoop(sinkURL string, concurrency int) *bareLoop {
	return &bareLoop{
		url: sinkURL + pushgateway.NotifyPath, concurrency: concurrency,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: concurrency}, Timeout: 75 * time.Second},
	}
}

func (b *bareLoop) close() { b.client.CloseIdleConnections() }

// post posts n pokes with the loop's concurrency.
func (b *bareLoop) post(ctx context.Context, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	var taken atomic.Int64
	for range b.concurrency {
		group.Go(func() error {
			for taken.Add(1) <= int64(n) {
				if err := b.postOne(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (b *bareLoop) postOne(ctx context.Context) error {
	n := pushgateway.Notification{
		EventID: "$bare-" + strconv.FormatInt(b.posted.Add(1), 10), RoomID: "!room0:bench.example", Type: "m.room.message",
		Sender: "@sender:bench.example", SenderDisplayName: "Sender", RoomName: "Benchmark", Content: benchContent(),
	}
	body := pushgateway.AppendBody(nil, n.AppendJSON(nil), 1, &pushgateway.Device{
		AppID: "org.example.bench", Pushkey: "key-@user-0-0:bench.example", PushkeyTS: 1,
		Data: []byte(`{}`), Tweaks: []byte(`{"sound":"default"}`),
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.client.Do(req)
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// benchSample is one side of one round.
type benchSample struct {
	Rate       float64 `json:"pokes_per_second"`
	CPU        float64 `json:"cpu_us_per_poke"` // of this process, user and system
	Allocs     float64 `json:"allocs_per_poke"`
	Lost       int     `json:"lost"`
	Duplicates int     `json:"duplicates"`
}

// burst has send cause n pokes and measures until the sink has them.
func burst(ctx context.Context, sink *sinkProcess, n int, send func() error) (benchSample, error) {
	runtime.GC()
	cost := spent()
	began := time.Now()
	if err := send(); err != nil {
		return benchSample{}, err
	}
	if err := sink.await(ctx, n); err != nil {
		return benchSample{}, err
	}
	cost = spent().since(cost)
	seen, err := sink.report(ctx)
	if err != nil {
		return benchSample{}, err
	}
	return benchSample{
		Rate:       float64(seen.Received) / time.Unix(0, seen.Last).Sub(began).Seconds(),
		CPU:        float64(cost.cpu.Nanoseconds()) / 1000 / float64(n),
		Allocs:     float64(cost.mallocs) / float64(n),
		Lost:       n - seen.Received,
		Duplicates: seen.Duplicates,
	}, nil
}

// expense is what a process has used.
type expense struct {
	cpu     time.Duration
	mallocs uint64
}

func spent() expense {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage) // cannot fail for oneself
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return expense{cpu: time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), mallocs: mem.Mallocs}
}

func (e expense) since(before expense) expense {
	return expense{cpu: e.cpu - before.cpu, mallocs: e.mallocs - before.mallocs}
}

// light measures latency at a light rate of pokes, each side alone.
func (c benchCmd) light(ctx context.Context, w *benchWorld, bare *bareLoop, sink *sinkProcess, result *benchResult) error {
	events := max(int(c.LightFor.Seconds()*float64(c.LightRate))/w.fanout, 1)
	for _, side := range []struct {
		sends, pokes int
		send         func() error
		into         *sinkReport
	}{
		{events, events * w.fanout, func() error { w.publishOne(func(error) {}); return nil }, &result.WholeLatency},
		{events * w.fanout, events * w.fanout, func() error { return bare.postOne(ctx) }, &result.BareLatency},
	} {
		if err := paced(ctx, side.sends, c.LightFor/time.Duration(side.sends), side.send); err != nil {
			return err
		}
		if err := sink.await(ctx, side.pokes); err != nil {
			return err
		}
		seen, err := sink.report(ctx)
		if err != nil {
			return err
		}
		*side.into = seen
		result.Lost += side.pokes - seen.Received
		result.Duplicates += seen.Duplicates
	}
	return nil
}

// paced calls send n times, one every interval.
func paced(ctx context.Context, n int, interval time.Duration, send func() error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for range n {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := send(); err != nil {
			return err
		}
	}
	return nil
}
