package bench

import (
	"encoding/json"
	"testing"

	"poked/cmd/internal/cli"
	"poked/events/eventstest"
)

// A small run: every poke arrives once, and the report is complete.
func TestBenchUnread(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	got := lab(t, "bench", "unread", "--fanout=4", "--pokes=200", "--rounds=1", "--unread=50",
		"--light-for=200ms", "--light-rate=50", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Stderr)
	}
	var report unreadReport
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Cost) != 1 || len(report.Latency) != 2 {
		t.Fatalf("report %s", got.Stdout)
	}
	cost := report.Cost[0]
	if len(cost.None) != 1 || len(cost.Messages) != 1 || cost.None[0].CPU <= 0 || cost.Messages[0].CPU <= 0 {
		t.Errorf("the cost was not measured: %s", got.Stdout)
	}
	for _, l := range report.Latency {
		if l.None[0].Received != 10 || l.Much[0].Received != 10 || l.None[0].P50 <= 0 || l.Much[0].P50 <= 0 {
			t.Errorf("latency was not measured: %s", got.Stdout)
		}
	}
}

// Flags that cannot be measured are a usage error.
func TestBenchUnreadUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--fanout=0"}, {"--fanout=20", "--pokes=10"}, {"--rounds=0"}, {"--unread=0"}, {"--light-for=0s"},
	} {
		if got := lab(t, append([]string{"bench", "unread"}, args...)...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, got.Code, cli.ExitUsage, got.Stderr)
		}
	}
}

// A report with a failed check fails the run.
func TestBenchUnreadVerdict(t *testing.T) {
	for _, tt := range []struct {
		name   string
		report unreadReport
		fails  bool
	}{
		{"well", unreadReport{}, false},
		{"lost", unreadReport{Lost: 1}, true},
		{"twice", unreadReport{Duplicates: 1}, true},
	} {
		if err := tt.report.verdict(); (err != nil) != tt.fails {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
