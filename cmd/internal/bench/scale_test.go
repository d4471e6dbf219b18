package bench

import (
	"encoding/json"
	"testing"

	"poked/cmd/internal/cli"
	"poked/events/eventstest"
)

// A small run: one dispatcher and two do the same work, and the report has the cost and the
// shares.
func TestBenchScale(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	got := lab(t, "bench", "scale", "--dispatchers=1,2", "--rounds=1", "--pokes=1000", "--settle=1s", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Stderr)
	}
	var report scaleReport
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	if report.Pokes != 1000 || len(report.Results) != 2 {
		t.Fatalf("report %s", got.Stdout)
	}
	for n, result := range report.Results {
		if result.Dispatchers != n+1 || len(result.Samples) != 1 {
			t.Fatalf("report %s", got.Stdout)
		}
		s := result.Samples[0]
		if s.Rate <= 0 || s.CPU <= 0 || s.Others <= 0 || len(s.Shares) != n+1 || s.EndedAlone != 0 {
			t.Errorf("something was not measured: %+v", s)
		}
	}
}

// Flags that cannot be measured are a usage error.
func TestBenchScaleUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--dispatchers=0"}, {"--dispatchers=2", "--concurrency=1"}, {"--fanout=0"}, {"--pokes=5"}, {"--rounds=0"}, {"--settle=0s"},
	} {
		if got := lab(t, append([]string{"bench", "scale"}, args...)...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, got.Code, cli.ExitUsage, got.Stderr)
		}
	}
}
