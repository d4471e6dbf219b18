package bench

import (
	"encoding/json"
	"testing"
	"time"

	"poked/cmd/internal/cli"
	"poked/events/eventstest"
)

// A small run: all gateways fail and recover, beside a busy process. Every poke arrives once,
// and the report is complete.
func TestBenchOutage(t *testing.T) {
	eventstest.Soak(t)
	t.Parallel()
	got := lab(t, "bench", "outage", "--gateways=5", "--lagging=200", "--outage=0s", "--gateway-slots=16", "--busy=1", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Stderr)
	}
	var o outageReport
	if err := json.Unmarshal([]byte(got.Stdout), &o); err != nil {
		t.Fatal(err)
	}
	if o.CaughtUp.Received != 600 || o.Refused == 0 {
		t.Errorf("pokes are missing, or the gateways worked: %s", got.Stdout)
	}
	if o.CaughtUp.MostInFlight < 1 || o.CaughtUp.MostInFlight > 16 {
		t.Errorf("%d requests in flight at one gateway, want 1 to 16", o.CaughtUp.MostInFlight)
	}
	if o.Before.Heap <= 0 || o.During.NATS <= 0 || o.After.Dispatcher <= 0 || len(o.BareRate) != 2 || o.Rate <= 0 ||
		o.CPU <= 0 || o.LiveCPU <= 0 || o.CaughtUp.LongestPause <= 0 || o.CaughtUp.LongestPause > o.CaughtUp.LastAfter {
		t.Errorf("something was not measured: %s", got.Stdout)
	}
}

// A heartbeat is missed if the next one is stored an interval late; what was stored between
// two looks counts as evenly spaced.
func TestHeartbeatsNote(t *testing.T) {
	var h heartbeats
	at := time.Now()
	for _, step := range []struct {
		after time.Duration // in intervals, since the step before
		seq   uint64
	}{{0, 10}, {1, 11}, {0, 11}, {2, 13}, {3, 14}} {
		at = at.Add(step.after * heartbeatInterval)
		h.note(at, step.seq)
	}
	if h.Stored != 4 || h.Missed != 2 || h.Longest != 3*heartbeatInterval {
		t.Errorf("%+v, want 4 stored, 2 missed, 3 intervals at most", h)
	}
}

// The longest pause is one between two pokes: the time before the first does not count.
func TestLongestPause(t *testing.T) {
	var n gatewayNotes
	n.init(1)
	since := time.Now()
	for i, after := range []time.Duration{5 * time.Second, 6 * time.Second, 8 * time.Second, 8 * time.Second} {
		n.took(0, sinkPoke{key: uint64(i)}, since.Add(after), since)
	}
	if r := n.report(); r.FirstAfter != 5*time.Second || r.LastAfter != 8*time.Second || r.LongestPause != 2*time.Second {
		t.Errorf("first after %s, last after %s, longest pause %s", r.FirstAfter, r.LastAfter, r.LongestPause)
	}
	if r := n.report(); r.LongestPause != 0 {
		t.Errorf("%s is left after a report", r.LongestPause)
	}
}

// Flags that cannot be measured are a usage error.
func TestBenchOutageUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--gateways=1"}, {"--lagging=150"}, {"--lagging=0"}, {"--lagging-rooms=2"}, {"--outage=-1s"}, {"--busy=-1"}, {"--slots=0"},
	} {
		if got := lab(t, append([]string{"bench", "outage"}, args...)...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, got.Code, cli.ExitUsage, got.Stderr)
		}
	}
}
