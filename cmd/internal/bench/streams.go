package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/cmd/internal/child"
	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/events/stream"
	"poked/events/wait"
)

// streamsCmd is "pokelab bench streams": writes to a log in one stream and in several, on three
// servers in processes of their own.
//
//	writers, some for each partition ─▶ NOTIFICATIONS, or NOTIFICATIONS_1 … N ─▶ 3 replicas of each
//
// The leader of each stream is on the next server. Then the server of the first leader is
// paused: its streams wait, and the others must not.
type streamsCmd struct {
	Streams  []int         `name:"streams" default:"1,2,4" env:"POKED_BENCH_STREAMS" help:"Numbers of streams; one measurement per value."`
	For      time.Duration `name:"for" default:"5s" env:"POKED_BENCH_FOR" help:"Duration of each round of writing."`
	Pause    time.Duration `name:"pause" default:"3s" env:"POKED_BENCH_PAUSE" help:"How long a server is paused."`
	Rounds   int           `name:"rounds" default:"3" env:"POKED_BENCH_ROUNDS" help:"Rounds of each measurement; medians are reported."`
	InFlight int           `name:"in-flight" default:"16" env:"POKED_BENCH_IN_FLIGHT" help:"Writes in flight for each of the 16 partitions."`
	Bytes    int           `name:"bytes" default:"800" env:"POKED_BENCH_BYTES" help:"Size of a message."`
	JSON     bool          `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// Help is shown by kong under the command's summary.
func (streamsCmd) Help() string {
	return "Starts three NATS servers that sync each write, as in docker-compose.yml, anew for each number of streams, and writes " +
		"messages of NOTIFICATIONS. With fewer cores than servers the rate shows what a write costs rather than what more " +
		"machines could do. Then it pauses the server that leads the first stream. Exit code 1 if a stream that another " +
		"server leads waits for that one."
}

// Validate is called by kong.
func (c streamsCmd) Validate() error {
	if c.For <= 0 || c.Pause <= 0 || c.Rounds < 1 || c.InFlight < 1 || c.Bytes < 1 || c.Bytes > 512<<10 {
		return errors.New("--for, --pause, --rounds, --in-flight and --bytes must be positive, --bytes at most 524288")
	}
	for _, n := range c.Streams {
		if n < 1 || n > stream.MaxStreams {
			return fmt.Errorf("--streams must be 1 to %d", stream.MaxStreams)
		}
	}
	return nil
}

// clusterSize is the number of servers, and of replicas.
const clusterSize = 3

// Run measures and prints a report.
func (c streamsCmd) Run(ctx context.Context, std terminal.Streams) error {
	progress := progressTo(std)
	var report streamsReport
	for _, n := range c.Streams {
		row, err := c.measure(ctx, n, std)
		if err != nil {
			return fmt.Errorf("%d streams: %w", n, err)
		}
		report.Rows = append(report.Rows, row)
		progress("%d streams: %.0f writes/s", n, row.Rate)
	}
	if err := terminal.PrintReport(std.Out, report, c.JSON); err != nil {
		return err
	}
	return report.verdict()
}

// measure measures one number of streams on a new cluster.
func (c streamsCmd) measure(ctx context.Context, streams int, std terminal.Streams) (row streamsRow, err error) {
	dir, err := os.MkdirTemp("", "poked-bench-")
	if err != nil {
		return row, fmt.Errorf("make directory: %w", err)
	}
	w := &streamsWorld{cmd: c, dir: dir}
	defer func() { err = errors.Join(err, w.close(), os.RemoveAll(dir)) }()
	if err := w.start(ctx, streams, std); err != nil {
		return row, err
	}
	row.Streams = streams
	if _, err := w.write(ctx, c.For/4); err != nil { // the first writes of a process cost more
		return row, err
	}
	var rates, cpus []float64
	for range c.Rounds {
		before := w.spent()
		s, err := w.write(ctx, c.For)
		if err != nil {
			return row, err
		}
		rates = append(rates, float64(s.stored())/c.For.Seconds())
		cpus = append(cpus, (w.spent()-before).Seconds()*1e6/float64(max(s.stored(), 1)))
		row.P99 = max(row.P99, s.p99())
	}
	row.Rate, row.CPU = middleOf(rates), middleOf(cpus)
	return row, w.pauseOne(ctx, &row)
}

// streamsWorld is a cluster and a connection to its last server.
type streamsWorld struct {
	cmd   streamsCmd
	dir   string
	nodes []*child.NATSNode
	conn  *stream.Conn
}

func (w *streamsWorld) start(ctx context.Context, streams int, std terminal.Streams) error {
	ports, err := child.FreePorts(clusterSize)
	if err != nil {
		return err
	}
	for n := range clusterSize {
		var routes []string
		for other := range clusterSize {
			if other != n {
				routes = append(routes, child.AddrOf(ports[other]))
			}
		}
		node, err := child.NewNATSNode(w.dir, "nats"+strconv.Itoa(n), child.AddrOf(ports[n]), routes)
		if err != nil {
			return err
		}
		w.nodes = append(w.nodes, node)
		if err := node.Start(); err != nil {
			return err
		}
	}
	log := slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelError}))
	w.conn, err = stream.Connect(ctx, stream.Config{URL: "nats://" + w.nodes[clusterSize-1].Addr, Name: "bench", Log: log})
	if err != nil {
		return err
	}
	topology := stream.Topology{Partitions: stream.DefaultPartitions, Replicas: clusterSize, Streams: streams}
	return w.until(ctx, "the streams are not set up", func(ctx context.Context) error {
		if slices.ContainsFunc(w.nodes, func(n *child.NATSNode) bool { return !n.Healthy(ctx) }) {
			return errors.New("the cluster is not whole")
		}
		if err := w.conn.Setup(ctx, topology); err != nil {
			return err
		}
		return w.spread(ctx)
	})
}

// until repeats try until it succeeds.
func (w *streamsWorld) until(ctx context.Context, complaint string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New(complaint))
	defer cancel()
	return wait.Until(ctx, wait.RetryPause, func(error) {}, func() error { return try(ctx) })
}

// spread moves the leader of each stream of NOTIFICATIONS to the next server.
func (w *streamsWorld) spread(ctx context.Context) error {
	for i, name := range w.conn.Topology().StreamsOf(stream.Notifications) {
		want := w.leaderOf(i)
		if want.Leader(ctx, name) == want.Name {
			continue
		}
		if err := w.conn.MoveLeader(ctx, name, want.Name); err != nil {
			return err
		}
		if got := want.Leader(ctx, name); got != want.Name {
			return fmt.Errorf("%s is led by %q", name, got)
		}
	}
	return nil
}

// leaderOf returns the server that leads a stream, by index.
func (w *streamsWorld) leaderOf(i int) *child.NATSNode { return w.nodes[i%clusterSize] }

// spent returns the CPU time that the servers have used.
func (w *streamsWorld) spent() (cpu time.Duration) {
	for _, n := range w.nodes {
		cpu += child.CPUOf(n.PID())
	}
	return cpu
}

// write writes to all partitions for a time.
func (w *streamsWorld) write(ctx context.Context, d time.Duration) (*streamsSample, error) {
	s := newStreamsSample(len(w.conn.Topology().StreamsOf(stream.Notifications)))
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	message := slices.Repeat([]byte("x"), w.cmd.Bytes)
	var writers errgroup.Group
	for part := range w.conn.Topology().Partitions {
		for range w.cmd.InFlight {
			writers.Go(func() error {
				for ctx.Err() == nil {
					w.writeOne(ctx, s, part, message)
				}
				return nil
			})
		}
	}
	return s, writers.Wait()
}

// writeOne writes a message and waits for the answer. A write that fails is not counted: the next
// one follows, after a pause.
func (w *streamsWorld) writeOne(ctx context.Context, s *streamsSample, part int, message []byte) {
	began, stored := time.Now(), make(chan error, 1)
	batch := w.conn.NewLogBatch(func(_ int64, err error) { stored <- err })
	batch.Add(events.LogSubject(part), nil, message)
	batch.Send()
	select {
	case err := <-stored:
		if err != nil {
			_ = wait.For(ctx, wait.RetryPause) // ends with ctx
			return
		}
		s.took(w.conn.LogIndex(part), began, time.Now())
	case <-ctx.Done():
	}
}

// pauseOne pauses the server that leads the first stream while messages are written.
func (w *streamsWorld) pauseOne(ctx context.Context, row *streamsRow) error {
	before := w.cmd.Pause / 3 // and after it
	var sample *streamsSample
	var group errgroup.Group
	group.Go(func() (err error) {
		sample, err = w.write(ctx, before+w.cmd.Pause+before)
		return err
	})
	if err := wait.For(ctx, before); err != nil {
		return errors.Join(err, group.Wait())
	}
	w.nodes[0].Pause()
	err := wait.For(ctx, w.cmd.Pause)
	w.nodes[0].Resume()
	if err := errors.Join(err, group.Wait()); err != nil {
		return err
	}
	for i, gap := range sample.gaps() {
		if w.leaderOf(i) == w.nodes[0] {
			row.Paused = max(row.Paused, gap)
		} else {
			row.Others = max(row.Others, gap)
		}
	}
	return nil
}

func (w *streamsWorld) close() error {
	var err error
	if w.conn != nil {
		err = w.conn.Close()
	}
	var all []*child.Process
	for _, n := range w.nodes {
		all = append(all, n.Process)
	}
	return errors.Join(err, child.StopAll(all))
}
