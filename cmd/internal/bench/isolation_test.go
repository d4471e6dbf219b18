package bench

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"poked/cmd/internal/cli"
	"poked/events/eventstest"
)

// A small run: one gateway of five hangs, some fail, also beside a busy process. Every poke
// arrives once, and the report is complete.
func TestBenchIsolation(t *testing.T) {
	eventstest.Soak(t)
	t.Parallel()
	got := lab(t, "bench", "isolation", "--gateways=5", "--rounds=1", "--light-for=200ms", "--light-rate=1000", "--busy=1", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Stderr)
	}
	var report isolationReport
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	for _, rounds := range [][]lightRound{report.Rounds, report.Disturbed} {
		if len(rounds) != len(lightKinds()) {
			t.Fatalf("report %s", got.Stdout)
		}
		for i, how := range lightKinds() {
			r := rounds[i]
			if pushed := r.Pushed > 50; pushed != (how != behaveBare) {
				t.Errorf("%s: %d of 200 pokes were for browsers", how, r.Pushed)
			}
			bad := how == behaveHang || how == behaveFail
			if r.How != how || r.Received != 200 || r.Timed > 160 || how != behaveFail && r.Timed != 160 {
				t.Errorf("%s: %d of 200 pokes, and latencies of %d, want those of four gateways of five", r.How, r.Received, r.Timed)
			}
			if !bad && r.Hung+r.Refused != 0 || how == behaveHang && r.Hung == 0 {
				t.Errorf("the gateways did not behave as they were told: %s", got.Stdout)
			}
		}
	}
}

// Each round beside busy processes is compared with the same round without them.
func TestIsolationDisturbed(t *testing.T) {
	round := func(how string, p99 time.Duration) lightRound {
		return lightRound{how, gatewaysReport{sinkReport: sinkReport{P99: p99}}}
	}
	report := isolationReport{
		Rounds:    []lightRound{round(behaveWell, 10), round(behaveHang, 20), round(behaveWell, 10), round(behaveHang, 10)},
		Disturbed: []lightRound{round(behaveWell, 20), round(behaveHang, 20), round(behaveWell, 10), round(behaveHang, 30)},
	}
	if got := report.disturbed(behaveHang); !slices.Equal(got, []float64{1, 3}) {
		t.Errorf("%v, want 1, 3", got)
	}
}

// Flags that cannot be measured are a usage error.
func TestBenchIsolationUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--gateways=1"}, {"--light-rate=9"}, {"--light-for=0s"}, {"--light-for=1ms"}, {"--rounds=0"}, {"--busy=-1"}, {"--browsers=101"}, {"--slots=0"},
	} {
		if got := lab(t, append([]string{"bench", "isolation"}, args...)...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, got.Code, cli.ExitUsage, got.Stderr)
		}
	}
}
