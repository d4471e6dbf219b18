package bench

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poked/cmd/internal/cli"
	"poked/events/eventstest"
)

// A small run with one request in flight: about as much is published as can be delivered, then
// nothing, and every poke arrives once. The plot has a point for each second.
func TestBenchOverload(t *testing.T) {
	eventstest.Soak(t)
	t.Parallel()
	file := filepath.Join(t.TempDir(), "plot.svg")
	got := lab(t, "bench", "overload", "--fanout=20", "--pokes=200", "--rate=100", "--for=2s", "--concurrency=1", "--plot", file, "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Stderr)
	}
	var report overloadReport
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	if report.Published == 0 || report.Offered != 2000 || report.Full <= 0 || len(report.Bare) != 2 || report.Latest <= 0 {
		t.Errorf("something was not measured: %s", got.Stdout)
	}
	last := report.Seconds[len(report.Seconds)-1]
	if report.Seconds[0].Rate <= 0 || report.Seconds[0].Published <= 0 || !last.Drains || last.Behind != 0 {
		t.Errorf("seconds %+v", report.Seconds)
	}
	drawn, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(drawn), ","); n < 2*len(report.Seconds) {
		t.Errorf("a plot with %d points for %d seconds", n, len(report.Seconds))
	}
	for decoder := xml.NewDecoder(strings.NewReader(string(drawn))); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is not XML: %v", err)
		}
	}
}

// Minimum and maximum are of five seconds in a row of the overload, without its first.
func TestOverloadFigures(t *testing.T) {
	var report overloadReport
	for i, rate := range []float64{0, 100, 100, 100, 100, 100, 50, 0, 100, 100, 100} {
		report.Seconds = append(report.Seconds, overloadSecond{At: float64(i + 1), Rate: rate, Published: 200})
	}
	report.Seconds = append(report.Seconds, overloadSecond{At: 12, Rate: 1000, Drains: true})
	want := overloadFigures{published: 200, best: 100, worst: 70, worstSecond: 0}
	if got := report.figures(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	report.Seconds = report.Seconds[:3]
	want = overloadFigures{published: 200, best: 100, worst: 100, worstSecond: 100}
	if got := report.figures(); got != want {
		t.Errorf("of two seconds %+v, want %+v", got, want)
	}
}

// What is missing was lost, unless the drain took too long.
func TestOverloadConclude(t *testing.T) {
	ended := time.Now()
	seen := sinkReport{Received: 90, Duplicates: 1, Last: ended.Add(2 * time.Second).UnixNano()}
	for _, tt := range []struct {
		unfinished bool
		want       string
	}{
		{false, "7 pokes lost, 0 not delivered in time, 1 twice"},
		{true, "0 pokes lost, 7 not delivered in time, 1 twice"},
	} {
		r := overloadReport{Fanout: 10, Published: 10, PassedOver: 3, Unfinished: tt.unfinished}
		r.conclude(seen, 30, ended)
		if err := r.verdict(); err == nil || err.Error() != tt.want || r.drain() != 30 {
			t.Errorf("%v, drained at %.0f/s; want %s, 30/s", err, r.drain(), tt.want)
		}
	}
}

// Flags that cannot be measured are a usage error.
func TestBenchOverloadUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--times=0"}, {"--rate=-1"}, {"--for=1s"}, {"--fanout=0"}, {"--fanout=20", "--pokes=10"}, {"--catch-up-limit=0"}, {"--concurrency=0"}, {"--drain-at-most=0s"},
	} {
		if got := lab(t, append([]string{"bench", "overload"}, args...)...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, got.Code, cli.ExitUsage, got.Stderr)
		}
	}
}
