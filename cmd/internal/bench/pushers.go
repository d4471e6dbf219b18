package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/events/stream"
)

// pushersCmd is "pokelab bench memory": what registered pushers cost a
// dispatcher.
//
//	this process                         a process for each row
//	NATS, files, the bucket ────TCP────▶ dispatcher that owns a share of the partitions
//
// Each share is first measured with nothing registered, which is what it costs by
// itself.
type pushersCmd struct {
	Pushers    int            `name:"pushers" default:"1000000" env:"POKED_BENCH_PUSHERS" help:"Pushers that are registered."`
	EachUser   int            `name:"each-user" default:"1" env:"POKED_BENCH_EACH_USER" help:"Pushers of one user."`
	OwnData    int            `name:"own-data" default:"0" env:"POKED_BENCH_OWN_DATA" help:"Of a hundred pushers, how many have data like no other."`
	Shares     []int          `name:"shares" default:"1,4" env:"POKED_BENCH_SHARES" help:"Dispatchers among which the partitions are shared; one measurement for each."`
	Partitions int            `name:"partitions" default:"16" env:"POKED_PARTITIONS" placeholder:"N" help:"Partitions of the streams, at most ${max_partitions}."`
	Fsync      node.FsyncFlag `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How soon the embedded NATS has a write on disk: always, or a duration."`
	JSON       bool           `name:"json" env:"POKED_JSON" help:"Print the result as one JSON object."`
}

// Help says what the figures mean.
func (pushersCmd) Help() string {
	return "Registers pushers in an embedded NATS, half of them with a pushkey of 44 bytes and data of 200, half with 152 and " +
		"90, and has a dispatcher in another process know them all: one that owns every partition, and one that owns a share. " +
		"Memory is what the system says of that process: loaded is right after it knows all, working the most while three " +
		"collections' worth of garbage is made and collected, as work makes it, at rest when all garbage has gone back. " +
		"Bytes a pusher are those of working, above what the same process works with while nothing is registered. " +
		"GOGC and GOMEMLIMIT are obeyed."
}

// Validate refuses what cannot be measured.
func (c pushersCmd) Validate() error {
	if c.Pushers < 1 || c.EachUser < 1 || c.OwnData < 0 || c.OwnData > 100 {
		return errors.New("--pushers and --each-user must be at least 1, --own-data 0 to 100")
	}
	if c.Partitions < 1 || c.Partitions > stream.MaxPartitions {
		return fmt.Errorf("--partitions must be 1 to %d", stream.MaxPartitions)
	}
	for _, share := range c.Shares {
		if share < 1 || share > c.Partitions {
			return errors.New("--shares must be at least 1 and at most --partitions")
		}
	}
	return nil
}

// Run measures and reports.
func (c pushersCmd) Run(ctx context.Context, std terminal.Streams) error {
	progress := func(format string, args ...any) {
		_, _ = fmt.Fprintf(std.Err, format+"\n", args...) // nobody left to tell
	}
	report, err := c.measure(ctx, progress)
	if err != nil {
		return err
	}
	return terminal.PrintReport(std.Out, report, c.JSON)
}

func (c pushersCmd) measure(ctx context.Context, progress func(string, ...any)) (report pushersReport, err error) {
	dir, err := os.MkdirTemp("", "poked-bench-")
	if err != nil {
		return report, fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	nats, err := node.StartNATS(node.NATSOptions{Dir: dir, Listen: "127.0.0.1:0", Sync: c.Fsync, Log: log})
	if err != nil {
		return report, err
	}
	defer nats.Stop()
	conn, err := stream.Connect(ctx, stream.Config{Name: "bench", InProcess: nats, Log: log})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.Setup(ctx, stream.Topology{Partitions: c.Partitions, Replicas: 1}); err != nil {
		return report, err
	}
	report = pushersReport{Pushers: c.Pushers, EachUser: c.EachUser, OwnData: c.OwnData}
	return report, c.rows(ctx, conn, "nats://"+nats.Where(), &report, progress)
}

// rows measures each share without pushers, and then with them.
func (c pushersCmd) rows(ctx context.Context, conn *stream.Conn, url string, report *pushersReport, progress func(string, ...any)) error {
	for _, share := range c.Shares {
		idle, err := measureDirectory(ctx, url, share)
		if err != nil {
			return err
		}
		report.Rows = append(report.Rows, pushersRow{Share: share, Idle: idle})
	}
	if err := c.register(ctx, conn, progress); err != nil {
		return err
	}
	for i := range report.Rows {
		row := &report.Rows[i]
		progress("a dispatcher that owns 1/%d of the partitions", row.Share)
		var err error
		if row.Loaded, err = measureDirectory(ctx, url, row.Share); err != nil {
			return err
		}
		row.BytesEach = float64(row.Loaded.Working-row.Idle.Working) / float64(c.Pushers)
	}
	return nil
}

// register puts the pushers into the bucket, and says how far it is.
func (c pushersCmd) register(ctx context.Context, conn *stream.Conn, progress func(string, ...any)) error {
	const every = 3 * time.Second
	began, next := time.Now(), time.Now().Add(every)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(256)
	for n := 0; n < c.Pushers && ctx.Err() == nil; n += c.EachUser {
		group.Go(func() error { return conn.PutPushers(ctx, c.user(n)) })
		if now := time.Now(); now.After(next) {
			next = now.Add(every)
			progress("%d of %d pushers registered, %.0f a second", n, c.Pushers, float64(n)/now.Sub(began).Seconds())
		}
	}
	return group.Wait()
}

// user returns the user whose first pusher is the nth.
func (c pushersCmd) user(n int) events.UserPushers {
	set := events.UserPushers{UserID: events.UserID(fmt.Sprintf("@user-%08d:bench.example", n)), Version: 1}
	for n := n; n < min(n+c.EachUser, c.Pushers) && len(set.Pushers) < c.EachUser; n++ {
		set.Pushers = append(set.Pushers, c.pusher(n))
	}
	return set
}

// pusher returns the nth pusher: in turns that of an app with short pushkeys and
// long data, and of one with long pushkeys and short data.
func (c pushersCmd) pusher(n int) events.Pusher {
	own := ""
	if n/2%100 < c.OwnData {
		own = fmt.Sprintf(`"client":"%032d",`, n)
	}
	p := events.Pusher{
		AppID: "org.example.bench.ios", Pushkey: fmt.Sprintf("%044d", n), Kind: "http", Lang: "en", PushkeyTS: 1_750_000_000 + int64(n),
		AppDisplayName: "Bench for phones", DeviceDisplayName: fmt.Sprintf("Phone %d", n),
		Data: []byte(`{` + own + `"url":"https://gateway.bench.example/_matrix/push/v1/notify","format":"event_id_only",` +
			`"default_payload":{"aps":{"mutable-content":1,"alert":{"loc-key":"Notification","loc-args":[]}}}}`),
	}
	if n%2 == 1 {
		p.AppID, p.Pushkey = "org.example.bench.android", strings.Repeat("k", 108)+p.Pushkey
		p.Data = []byte(`{` + own + `"url":"https://gateway.bench.example/_matrix/push/v1/notify","format":"event_id_only"}`)
	}
	return p
}
