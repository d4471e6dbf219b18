package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"

	"poked/cmd/internal/terminal"
	"poked/dispatcher"
	"poked/dispatcher/deliver"
	"poked/events/pushgateway"
	"poked/events/stream"
)

// directoryCmd is the dispatcher of the memory benchmark, in a separate process. It loads
// the registered pushers, prints the cost and ends.
type directoryCmd struct {
	NATS  string `arg:"" help:"URL of the NATS with the pushers."`
	Share int    `arg:"" help:"Number of dispatchers that share the partitions."`
}

// Run loads, measures and prints a directoryReport as one JSON object.
func (c directoryCmd) Run(ctx context.Context, std terminal.Streams) error {
	log := slog.New(slog.NewTextHandler(std.Err, nil))
	conn, err := stream.Connect(ctx, stream.Config{URL: c.NATS, Name: "bench dispatcher", Log: log})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Join(ctx); err != nil {
		return err
	}
	report, err := c.load(ctx, conn, log)
	if err != nil {
		return err
	}
	return terminal.PrintJSON(std.Out, report)
}

func (c directoryCmd) load(ctx context.Context, conn *stream.Conn, log *slog.Logger) (report directoryReport, err error) {
	d, err := dispatcher.New(directoryConfig(), &pushgateway.Policy{}, conn, log)
	if err != nil {
		return report, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	began, before := time.Now(), spent()
	loaded, ended := make(chan struct{}), make(chan error, 1)
	owns := func(part int) bool { return part%c.Share == 0 }
	go func() { ended <- d.Load(ctx, owns, func() { close(loaded) }) }() // ends with ctx
	select {
	case <-loaded:
	case err := <-ended:
		return report, errors.Join(errors.New("the dispatcher ended"), err)
	}
	report = directoryReport{Loaded: residentBytes(), LoadTime: time.Since(began), LoadCPU: spent().since(before).cpu, GOGC: gogc()}
	report.work()
	stop()
	return report, <-ended
}

func directoryConfig() dispatcher.Config {
	return dispatcher.Config{
		Slots: 1, GatewaySlots: 1, GatewayFloor: 1, CatchUpLimit: 1, OpenRooms: 1, Badge: deliver.BadgeMessages,
		RequestTimeout: time.Second, PokeTTL: time.Hour,
	}
}

// collections is how many garbage collections work waits for.
const collections = 3

// work produces garbage as a working dispatcher would, and measures memory during and after
// it.
func (r *directoryReport) work() {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	for until := stats.NumGC + collections; stats.NumGC < until; runtime.ReadMemStats(&stats) {
		litter()
		r.Working = max(r.Working, residentBytes())
	}
	before := spent()
	runtime.GC()
	r.CollectCPU = spent().since(before).cpu
	debug.FreeOSMemory()
	runtime.ReadMemStats(&stats)
	r.AtRest, r.Peak, r.Heap = residentBytes(), peakBytes(), int64(stats.HeapAlloc) //nolint:gosec // no heap is that large
}

// litter allocates 1 MiB of garbage, in pieces of the size of pokes and events.
func litter() (pieces [][]byte) {
	for range 1024 {
		pieces = append(pieces, make([]byte, 1024))
	}
	return pieces
}

// gogc returns the value of GOGC in percent.
func gogc() int {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64()) //nolint:gosec // a percentage
}

// measureDirectory measures, in another process, the cost of loading the pushers of a NATS.
func measureDirectory(ctx context.Context, url string, share int) (report directoryReport, err error) {
	self, err := os.Executable()
	if err != nil {
		return report, fmt.Errorf("start dispatcher: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "bench-directory", url, strconv.Itoa(share)) //nolint:gosec // it is this program
	cmd.Stderr = os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		return report, fmt.Errorf("run dispatcher: %w", err)
	}
	if err := json.Unmarshal(raw, &report); err != nil {
		return report, fmt.Errorf("read the dispatcher's report: %w", err)
	}
	return report, nil
}
