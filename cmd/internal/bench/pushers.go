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

// pushersCmd is "pokelab bench memory": the memory that registered pushers cost a
// dispatcher.
//
//	this process                         one process per row
//	NATS, files, the bucket ────TCP────▶ dispatcher that owns a share of the partitions
//
// Each share is first measured without pushers, as the baseline.
type pushersCmd struct {
	Pushers    int            `name:"pushers" default:"1000000" env:"POKED_BENCH_PUSHERS" help:"Number of registered pushers."`
	EachUser   int            `name:"each-user" default:"1" env:"POKED_BENCH_EACH_USER" help:"Pushers per user."`
	OwnData    int            `name:"own-data" default:"0" env:"POKED_BENCH_OWN_DATA" help:"Percentage of pushers with unique data."`
	Shares     []int          `name:"shares" default:"1,4" env:"POKED_BENCH_SHARES" help:"Numbers of dispatchers that share the partitions; one measurement per value."`
	Partitions int            `name:"partitions" default:"16" env:"POKED_PARTITIONS" placeholder:"N" help:"Number of partitions, at most ${max_partitions}."`
	Fsync      node.FsyncFlag `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How often the embedded NATS syncs to disk: always, or an interval."`
	JSON       bool           `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// Help is shown by kong under the command's summary.
func (pushersCmd) Help() string {
	return "Registers pushers in an embedded NATS, half with a pushkey of 44 bytes and data of 200 bytes, half with 152 and 90 bytes, " +
		"and loads them into a dispatcher in another process: one that owns every partition, and one that owns a share. " +
		"Memory is the RSS of that process. loaded: right after loading. working: the maximum during three garbage " +
		"collections of simulated work. at rest: after all garbage has been returned to the system. " +
		"Bytes per pusher are the difference in working between all pushers and none. " +
		"GOGC and GOMEMLIMIT apply."
}

// Validate is called by kong.
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

// Run measures and prints a report.
func (c pushersCmd) Run(ctx context.Context, std terminal.Streams) error {
	progress := progressTo(std)
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

// rows measures each share without pushers and then with them.
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

// register stores the pushers in the bucket and shows the progress.
func (c pushersCmd) register(ctx context.Context, conn *stream.Conn, progress func(string, ...any)) error {
	const every = 3 * time.Second
	began, next := time.Now(), time.Now().Add(every)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(256)
	for n := 0; n < c.Pushers && ctx.Err() == nil; n += c.EachUser {
		group.Go(func() error { return conn.PutPushers(ctx, c.user(n)) })
		if now := time.Now(); now.After(next) {
			next = now.Add(every)
			progress("%d of %d pushers registered, %.0f per second", n, c.Pushers, float64(n)/now.Sub(began).Seconds())
		}
	}
	return group.Wait()
}

// user returns the user whose first pusher is number n.
func (c pushersCmd) user(n int) events.UserPushers {
	set := events.UserPushers{UserID: events.UserID(fmt.Sprintf("@user-%08d:bench.example", n)), Version: 1}
	for n := n; n < min(n+c.EachUser, c.Pushers) && len(set.Pushers) < c.EachUser; n++ {
		set.Pushers = append(set.Pushers, c.pusher(n))
	}
	return set
}

// pusher returns pusher number n, alternately of an app with short pushkeys and long data,
// and of one with long pushkeys and short data.
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
