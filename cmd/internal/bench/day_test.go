package bench

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"poked/cmd/internal/cli"
	"poked/events/eventstest"
	"poked/events/stream"
)

// A small day: what is read or redacted was delivered before, the pushers of a gateway that
// is down lag and catch up, and every poke arrives once.
func TestBenchDay(t *testing.T) {
	eventstest.Soak(t)
	t.Parallel()
	got := lab(t, "bench", "day", "--users=100", "--rooms-each=1", "--events=200", "--read-within=500", "--redactions=0.2", "--lagging=20", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Stderr)
	}
	var report dayReport
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	if report.Notifications != 1000 || report.Pokes >= 900 || report.Pokes < 700 || report.Lost != 0 || report.Duplicates != 0 || report.CaughtUp <= 0 {
		t.Errorf("report %s", got.Stdout)
	}
	if report.Receipts < 100 || report.Receipts > 500 || report.Redactions < 10 {
		t.Errorf("%d receipts and %d redactions, want at most one receipt for two notifications, and some redactions", report.Receipts, report.Redactions)
	}
	if report.Rate <= 0 || report.NATS <= 0 || report.Dispatcher <= 0 || report.HomeCPU < 0 || len(report.Bare) != 2 {
		t.Errorf("something was not measured: %s", got.Stdout)
	}
	at := slices.IndexFunc(report.Stored, func(s storedIn) bool { return s.Name == stream.Notifications })
	if at < 0 || report.Stored[at].Writes < 1 {
		t.Errorf("stored %+v, want a message for each notification", report.Stored)
	}
}

// Costs are differences, for each notification, and the homeserver's streams are left out.
func TestDayTook(t *testing.T) {
	began := time.Now()
	report := dayReport{Notifications: 1000, Pokes: 900, Bare: []burstSample{{CPU: 20}, {CPU: 40}}}
	report.took(
		daySnapshot{at: began, nats: time.Second, dispatcher: time.Second, written: 1000, streams: []stream.Status{
			{Name: "ROOMS", LastSeq: 1}, {Name: "A", LastSeq: 10, Messages: 10, Bytes: 1000},
		}},
		daySnapshot{at: began.Add(2 * time.Second), nats: 1100 * time.Millisecond, dispatcher: 1050 * time.Millisecond, written: 501000, streams: []stream.Status{
			{Name: "ROOMS", LastSeq: 100}, {Name: "ROOM_STATE", LastSeq: 100},
			{Name: "A", LastSeq: 510, Messages: 5, Bytes: 500}, {Name: "B", LastSeq: 1000, Messages: 1000, Bytes: 2000}, {Name: "C"},
		}},
	)
	if report.Rate != 500 || report.NATS != 100 || report.Dispatcher != 50 || report.Written != 500 || report.withoutPost() != 123 {
		t.Errorf("%+v, without the POST %v", report, report.withoutPost())
	}
	want := []storedIn{{Name: "B", Writes: 1, Kept: 1, Bytes: 2}, {Name: "A", Writes: 0.5, Kept: -0.005, Bytes: -0.5}}
	if !slices.Equal(report.Stored, want) {
		t.Errorf("stored %+v, want %+v", report.Stored, want)
	}
}

// Flags that cannot be measured are a usage error.
func TestBenchDayUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--users=0"}, {"--users=7"}, {"--fanout=0"}, {"--rooms-each=0"}, {"--events=3"}, {"--rate=-1"}, {"--receipts=1.5"},
		{"--receipts=NaN"}, {"--read-within=99"}, {"--redactions=2"}, {"--lagging=100"}, {"--concurrency=0"},
	} {
		if got := lab(t, append([]string{"bench", "day"}, args...)...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, got.Code, cli.ExitUsage, got.Stderr)
		}
	}
}
