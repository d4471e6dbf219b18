package bench

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/dispatcher"
)

// manyGateways are the flags of benchmarks with many gateways.
type manyGateways struct {
	Gateways    int               `name:"gateways" default:"100" env:"POKED_BENCH_GATEWAYS" help:"Number of push gateways, each with its own origin."`
	AnswerAfter time.Duration     `name:"answer-after" default:"5ms" env:"POKED_BENCH_ANSWER_AFTER" help:"Response time of a gateway."`
	Fsync       node.FsyncFlag    `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How often the embedded NATS syncs to disk: always, or an interval."`
	Dispatcher  dispatcher.Config `embed:"" group:"Dispatcher:"`
}

func (m manyGateways) check() error {
	if m.Gateways < 2 || m.AnswerAfter < 0 {
		return errors.New("--gateways must be at least 2, --answer-after must not be negative")
	}
	return m.Dispatcher.Validate()
}

// gatewaysRun is a run with many gateways.
type gatewaysRun struct {
	manyGateways

	gateways *gatewaysProcess
	browsers int // of 100 users
	log      *slog.Logger
	progress func(format string, args ...any)
}

// start starts the gateways.
func (m manyGateways) start(ctx context.Context, std terminal.Streams) (*gatewaysRun, error) {
	gateways, err := startGateways(ctx, m.Gateways, m.AnswerAfter)
	if err != nil {
		return nil, err
	}
	return &gatewaysRun{
		manyGateways: m, gateways: gateways, progress: progressTo(std),
		log: slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, nil
}

// world creates a world whose users are spread over all gateways.
func (r *gatewaysRun) world(ctx context.Context, groups, fanout, roomsEach int) (*world, error) {
	r.progress("%d users in %d rooms of %d, at %d gateways", groups*fanout, groups*roomsEach, fanout, r.Gateways)
	return newWorld(ctx, worldOptions{
		groups: groups, fanout: fanout, roomsEach: roomsEach, gateways: r.gateways.urls, browsers: r.browsers,
		dispatcher: r.Dispatcher, fsync: r.Fsync,
	}, r.log)
}
