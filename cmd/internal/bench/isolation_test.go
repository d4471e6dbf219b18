package bench

import (
	"encoding/json"
	"testing"

	"poked/cmd/internal/cli"
	"poked/cmd/internal/clitest"
	"poked/events/eventstest"
)

// A small run: one gateway of five hangs, some fail, then all of them. Every poke arrives
// once, and the report is complete.
func TestBenchIsolation(t *testing.T) {
	eventstest.Long(t)
	t.Setenv(clitest.AsProgram, "1") // the gateways are a separate process
	got := lab(t, "bench", "isolation", "--gateways=5", "--rounds=1", "--light-for=1s", "--light-rate=200",
		"--lagging=200", "--outage=0s", "--gateway-slots=16", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Stderr)
	}
	var report isolationReport
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	l, o := report.Light, report.Outage
	if l == nil || len(l.Well) != 1 || len(l.Hang) != 1 || len(l.Fail) != 1 || o == nil {
		t.Fatalf("report %s", got.Stdout)
	}
	if l.Well[0].Received != 200 || l.Hang[0].Received != 200 || l.Fail[0].Received != 200 || o.CaughtUp.Received != 600 {
		t.Errorf("pokes of a round or the outage are missing: %s", got.Stdout)
	}
	if l.Well[0].Hung+l.Well[0].Refused != 0 || l.Hang[0].Hung == 0 || o.Refused == 0 {
		t.Errorf("the gateways did not behave as the benchmark demands: %s", got.Stdout)
	}
	if l.Well[0].Timed != 160 || l.Hang[0].Timed != 160 || l.Fail[0].Timed > 160 {
		t.Errorf("latencies of %d, %d and %d pokes, want those of four gateways of five", l.Well[0].Timed, l.Hang[0].Timed, l.Fail[0].Timed)
	}
	if o.CaughtUp.MostInFlight < 1 || o.CaughtUp.MostInFlight > 16 {
		t.Errorf("%d requests in flight at one gateway, want 1 to 16", o.CaughtUp.MostInFlight)
	}
	if o.Before.Heap <= 0 || o.During.NATS <= 0 || o.After.Dispatcher <= 0 || len(o.BareRate) != 3 || o.Rate <= 0 {
		t.Errorf("something was not measured: %s", got.Stdout)
	}
}

// Flags that cannot be measured are a usage error.
func TestBenchIsolationUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--gateways=1"}, {"--light-rate=9"}, {"--light-for=0s"}, {"--rounds=-1"}, {"--lagging=150"},
		{"--lagging-rooms=2"}, {"--slots=0"},
	} {
		if got := lab(t, append([]string{"bench", "isolation"}, args...)...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, got.Code, cli.ExitUsage, got.Stderr)
		}
	}
}
