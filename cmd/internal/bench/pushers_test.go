package bench

import (
	"encoding/json"
	"testing"

	"poked/cmd/internal/cli"
	"poked/events/eventstest"
)

// A small run: without and with pushers, for one dispatcher and for one of two.
func TestBenchMemory(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	got := lab(t, "bench", "memory", "--pushers=3001", "--each-user=2", "--own-data=50", "--shares=1,2", "--partitions=2", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Stderr)
	}
	var report pushersReport
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Rows) != 2 || report.Pushers != 3001 {
		t.Fatalf("report %s", got.Stdout)
	}
	for _, row := range report.Rows {
		idle, loaded := row.Idle, row.Loaded
		if idle.Working <= 0 || loaded.Loaded <= 0 || loaded.AtRest <= 0 || loaded.Peak < loaded.AtRest || loaded.GOGC == 0 || loaded.LoadTime <= 0 {
			t.Errorf("something was not measured: %+v", row)
		}
		if loaded.Heap < idle.Heap+3000*50 {
			t.Errorf("a heap of %d bytes with pushers, of %d without", loaded.Heap, idle.Heap)
		}
	}
	if all, half := report.Rows[0].Loaded.Heap, report.Rows[1].Loaded.Heap; half >= all {
		t.Errorf("a heap of %d bytes for half, of %d for all", half, all)
	}
}

// Flags that cannot be measured are a usage error.
func TestBenchMemoryUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--pushers=0"}, {"--each-user=0"}, {"--own-data=101"}, {"--shares=0"}, {"--shares=3", "--partitions=2"}, {"--partitions=0"},
	} {
		if got := lab(t, append([]string{"bench", "memory"}, args...)...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, got.Code, cli.ExitUsage, got.Stderr)
		}
	}
}
