package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"poked/cmd/internal/cli"
	"poked/events/eventstest"
	"poked/events/stream"
)

// A short soak: the log is trimmed, users are read from a dispatcher without anything in
// memory, and every poke arrives once.
func TestBenchSoak(t *testing.T) {
	eventstest.Soak(t)
	t.Parallel()
	got := lab(t, "bench", "soak", "--users=100", "--rooms-each=1", "--rounds=3", "--events=100", "--keep-events=200", "--read-within=500", "--reads=50", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Stderr)
	}
	var report soakReport
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.States) != 2 || len(report.Rates) != 3 || report.Notifications != 3*100*5 || report.Lost != 0 || report.Duplicates != 0 {
		t.Fatalf("report %s", got.Stdout)
	}
	for _, s := range report.States {
		if s.P50 <= 0 || s.P99 < s.P50 || s.Longest < s.P99 || s.Listed == 0 || s.NATS <= 0 {
			t.Errorf("something was not measured: %+v", s)
		}
	}
	for _, s := range report.States[1].Streams {
		if s.Name == stream.Notifications && (s.Messages > 200*6 || s.LastSeq < 1000) {
			t.Errorf("%d of %d messages are in the log, want 1200 at most", s.Messages, s.LastSeq)
		}
	}
}

// Costs at the end are compared with those at the beginning.
func TestSoakReport(t *testing.T) {
	r := soakReport{Rounds: 2, Rates: []float64{100, 50}, States: []soakState{
		{P50: time.Millisecond, P99: 2 * time.Millisecond, Longest: 3 * time.Millisecond, Listed: 10, NATS: 1 << 20, Streams: []stream.Status{{Name: "A", Messages: 4}}},
		{P50: 2 * time.Millisecond, P99: 8 * time.Millisecond, Longest: 9 * time.Millisecond, Listed: 10, NATS: 3 << 20, Streams: []stream.Status{{Name: "A", Messages: 2}}},
	}}
	var out strings.Builder
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"first read, p50 1.0 2.0 ms ratio 2.00", "first read, p99 2.0 8.0 ms ratio 4.00", "memory of NATS 1.0 3.0 MiB ratio 3.00",
		"rate, first and last round 100.0 50.0 notifications/s ratio 0.50", "A 4.0 2.0 messages ratio 0.50",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	r.Lost = -1
	if r.verdict() == nil {
		t.Error("what arrived without being sent is no fault")
	}
}

// Flags that cannot work are a usage error.
func TestSoakUsage(t *testing.T) {
	for _, args := range [][]string{{"--rounds=1"}, {"--keep-events=0"}, {"--reads=0"}, {"--users=5", "--reads=6"}, {"--events=1"}} {
		if got := lab(t, append([]string{"bench", "soak"}, args...)...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d: %s", args, got.Code, got.Stderr)
		}
	}
}
