package bench

import (
	"context"
	"errors"
	"log/slog"
	"strconv"

	"poked/cmd/internal/terminal"
)

// deployment is the processes of a benchmark whose dispatcher is watched from outside.
type deployment struct {
	sink *sinkProcess
	w    *world
	d    *watched
}

// startDeployment starts the processes of a benchmark in which every poke arrives at one
// sink. concurrency limits the requests in flight, at all gateways and at each.
func (p *deployment) startDeployment(ctx context.Context, std terminal.Streams, o worldOptions, concurrency, catchUpLimit int) (err error) {
	if p.sink, err = startSink(ctx, "bench-sink"); err != nil {
		return err
	}
	o.gateways, o.outside, o.separate = []string{p.sink.url}, true, true
	log := slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if p.w, err = newWorld(ctx, o, log); err != nil {
		return err
	}
	slots := strconv.Itoa(concurrency)
	p.d, err = p.w.watchedDispatcher(ctx, "--slots", slots, "--gateway-slots", slots, "--catch-up-limit", strconv.Itoa(catchUpLimit))
	return err
}

// stop ends the processes that run.
func (p *deployment) stop() (err error) {
	if p.d != nil {
		err = p.d.Stop()
	}
	if p.w != nil {
		err = errors.Join(err, p.w.close())
	}
	if p.sink != nil {
		p.sink.stop()
	}
	return err
}
