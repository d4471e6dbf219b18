package bench

import (
	"context"
	"runtime"
	"syscall"
	"time"
)

// burstSample is the result of one side of a round.
type burstSample struct {
	Rate       float64 `json:"pokes_per_second"`
	CPU        float64 `json:"cpu_us_per_poke"` // of this process, user and system
	Allocs     float64 `json:"allocs_per_poke"`
	Lost       int     `json:"lost"`
	Duplicates int     `json:"duplicates"`
}

// burst calls send, which causes n pokes, and measures until the sink has received them.
func burst(ctx context.Context, sink *sinkProcess, n int, send func() error) (burstSample, error) {
	runtime.GC()
	cost := spent()
	began := time.Now()
	if err := send(); err != nil {
		return burstSample{}, err
	}
	if err := sink.await(ctx, n); err != nil {
		return burstSample{}, err
	}
	cost = spent().since(cost)
	seen, err := sink.report(ctx)
	if err != nil {
		return burstSample{}, err
	}
	return burstSample{
		Rate:       float64(seen.Received) / time.Unix(0, seen.Last).Sub(began).Seconds(),
		CPU:        cost.cpuEach(n),
		Allocs:     float64(cost.mallocs) / float64(n),
		Lost:       n - seen.Received,
		Duplicates: seen.Duplicates,
	}, nil
}

// expense is the CPU time and the allocations of a process.
type expense struct {
	cpu     time.Duration
	mallocs uint64
}

func spent() expense {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage) // cannot fail for the own process
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return expense{cpu: time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), mallocs: mem.Mallocs}
}

func (e expense) since(before expense) expense {
	return expense{cpu: e.cpu - before.cpu, mallocs: e.mallocs - before.mallocs}
}

// cpuEach returns the CPU time per item in microseconds, for n items.
func (e expense) cpuEach(n int) float64 { return float64(e.cpu.Nanoseconds()) / 1000 / float64(n) }

// light measures latency at a light load, one side after the other.
func (c throughputCmd) light(ctx context.Context, w *world, bare *bareLoop, sink *sinkProcess, result *throughputResult) error {
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
