package bench

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"poked/cmd/internal/cli"
	"poked/dispatcher"
	"poked/dispatcher/deliver"
	"poked/events/eventstest"
)

// A small run, with rounds beside a busy process: every poke arrives once, and the report
// has both.
func TestBenchThroughput(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	got := lab(t, "bench", "throughput", "--fanout=4", "--pokes=400", "--rounds=2", "--light-for=200ms", "--busy=1", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Stderr)
	}
	var report throughputReport
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != 1 {
		t.Fatalf("report %s", got.Stdout)
	}
	r := report.Results[0]
	for _, samples := range [][]burstSample{r.Whole, r.Bare, r.BusyWhole, r.BusyBare} {
		if len(samples) != 2 || samples[0].Rate <= 0 || samples[1].CPU <= 0 {
			t.Errorf("a side was not measured in every round: %s", got.Stdout)
		}
	}
	if r.WholeLatency.Received != 40 || r.BareLatency.Received != 40 {
		t.Errorf("latency was not measured: %s", got.Stdout)
	}
}

// Each round is compared with the same round without the busy processes.
func TestThroughputDisturbed(t *testing.T) {
	at := func(rates ...float64) (samples []burstSample) {
		for _, rate := range rates {
			samples = append(samples, burstSample{Rate: rate})
		}
		return samples
	}
	r := throughputResult{
		Fanout: 1, Busy: 4, Whole: at(50, 80, 50), Bare: at(100, 100, 100), BusyWhole: at(25, 10, 50), BusyBare: at(50, 50, 100),
	}
	if got := r.disturbed(); !slices.Equal(got, []float64{1, 0.25, 1}) {
		t.Errorf("%v, want 1, 0.25, 1", got)
	}
	var out strings.Builder
	if err := (throughputReport{Results: []throughputResult{r}}).Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"poked beside 4", "bare beside 4", "[1.00 0.25 1.00]; the least 0.25"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// Busy processes use a core each, and none outlives what runs beside them.
func TestWhileBusy(t *testing.T) {
	p, err := startProcess(t.Context(), "bench-busy")
	if err != nil {
		t.Fatal(err)
	}
	eventstest.WaitFor(t, "CPU time", func() bool { return p.cpu() >= 50*time.Millisecond })
	p.stop()
	if p.cmd.ProcessState == nil {
		t.Error("it still runs")
	}
	failed := errors.New("failed")
	if err := whileBusy(t.Context(), 2, func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("%v, want the error of what ran beside them", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := whileBusy(ctx, 1, func() error { t.Error("it ran without busy processes"); return nil }); err == nil {
		t.Error("no error of a process that cannot start")
	}
}

// The dispatcher of a benchmark has what an operator's has, but for what the help names.
func TestDispatcherConfig(t *testing.T) {
	got, err := dispatcherConfig(4, 10, deliver.BadgeRooms)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	var operators dispatcher.Config
	if err := kong.ApplyDefaults(&operators); err != nil {
		t.Fatal(err)
	}
	if got.Slots != 4 || got.GatewaySlots != 4 || got.GatewayFloor != 4 || got.Badge != deliver.BadgeRooms {
		t.Errorf("%+v", got)
	}
	operators.Slots, operators.GatewaySlots, operators.GatewayFloor = got.Slots, got.GatewaySlots, got.GatewayFloor
	operators.Badge, operators.CatchUpLimit, operators.OpenRooms = got.Badge, got.CatchUpLimit, got.OpenRooms
	if !reflect.DeepEqual(got, operators) || got.Recent == 0 || got.PokeTTL == 0 {
		t.Errorf("%+v, want the defaults %+v", got, operators)
	}
}

// Flags that cannot be measured are a usage error.
func TestBenchThroughputUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--fanout=0"}, {"--fanout=20", "--pokes=10"}, {"--rounds=0"}, {"--concurrency=0"}, {"--light-rate=0"}, {"--light-for=0s"}, {"--busy=-1"},
	} {
		if got := lab(t, append([]string{"bench", "throughput"}, args...)...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, got.Code, cli.ExitUsage, got.Stderr)
		}
	}
}

// A small run of both sides: every poke arrives once, and the report compares them.
func TestBenchTrace(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	got := lab(t, "bench", "trace", "--pokes=400", "--rounds=2", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Stderr)
	}
	var report traceReport
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil || len(report.Off) != 2 || len(report.On) != 2 || report.Ratio <= 0 {
		t.Errorf("%v: %s", err, got.Stdout)
	}
}
