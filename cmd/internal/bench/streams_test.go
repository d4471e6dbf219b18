package bench

import (
	"encoding/json"
	"testing"
	"time"

	"poked/cmd/internal/cli"
	"poked/events/eventstest"
)

// On three servers, a stream whose leader is paused does not stop the others.
func TestBenchStreams(t *testing.T) {
	eventstest.Soak(t)
	t.Parallel()
	got := lab(t, "bench", "streams", "--streams=1,2", "--for=200ms", "--pause=1500ms", "--rounds=1", "--in-flight=1", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s%s", got.Code, got.Stderr, got.Stdout)
	}
	var report streamsReport
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil || len(report.Rows) != 2 {
		t.Fatalf("report %s (%v)", got.Stdout, err)
	}
	for _, row := range report.Rows {
		if row.Rate <= 0 || row.P99 <= 0 || row.CPU <= 0 || row.Paused < 1200*time.Millisecond || (row.Others > 0) != (row.Streams > 1) {
			t.Errorf("something was not measured: %+v", row)
		}
	}
}

// A stream that waits for the leader of another fails the run.
func TestBenchStreamsVerdict(t *testing.T) {
	for others, good := range map[time.Duration]bool{0: true, time.Second: true, 2 * time.Second: false} {
		report := streamsReport{Rows: []streamsRow{{Streams: 4, Rate: 1, Paused: 3 * time.Second, Others: others}}}
		if err := report.verdict(); (err == nil) != good {
			t.Errorf("others waited %v: %v", others, err)
		}
	}
}

// Flags that cannot be measured are a usage error.
func TestBenchStreamsUsage(t *testing.T) {
	for _, args := range [][]string{{"--for=0s"}, {"--pause=0s"}, {"--rounds=0"}, {"--streams=0"}, {"--streams=17"}, {"--bytes=0"}, {"--in-flight=0"}} {
		if got := lab(t, append([]string{"bench", "streams"}, args...)...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, got.Code, cli.ExitUsage, got.Stderr)
		}
	}
}
