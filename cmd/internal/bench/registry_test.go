package bench

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"poked/cmd/internal/cli"
	"poked/events/eventstest"
)

// A small run on each kind of database.
func TestBenchRegistry(t *testing.T) {
	eventstest.Soak(t)
	t.Parallel()
	got := lab(t, "bench", "registry", "--for=300ms", "--clients=4", "--readers=2", "--pushers=300", "--json")
	if strings.Contains(got.Stderr, "PostgreSQL is not installed") && os.Getenv("CI") == "" {
		t.Skip("not tested: ", got.Stderr)
	}
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Stderr)
	}
	var report registryReport
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil || len(report.Rows) != 3 {
		t.Fatalf("report %s (%v)", got.Stdout, err)
	}
	for _, row := range report.Rows {
		if row.Sets.Rate <= 0 || row.Gets.Rate <= 0 || row.Sets.P50 > row.Sets.P99 || row.Sets.P99 > row.Sets.Max || row.Ready <= 0 {
			t.Errorf("something was not measured: %+v", row)
		}
	}
}

// Flags that cannot be measured are a usage error.
func TestBenchRegistryUsage(t *testing.T) {
	for _, args := range [][]string{{"--for=0s"}, {"--clients=0"}, {"--readers=-1"}, {"--pushers=-1"}} {
		if got := lab(t, append([]string{"bench", "registry"}, args...)...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, got.Code, cli.ExitUsage, got.Stderr)
		}
	}
}
