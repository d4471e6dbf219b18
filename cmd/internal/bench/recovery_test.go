package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"poked/cmd/internal/cli"
	"poked/events/eventstest"
)

// A small run: the dispatcher is killed in the middle, and every poke arrives.
func TestBenchRecovery(t *testing.T) {
	eventstest.Soak(t)
	t.Parallel()
	got := lab(t, "bench", "recovery", "--events=400", "--rate=200", "--rooms=3", "--catch-up-limit=100000", "--json")
	if got.Code != cli.ExitOK {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Stderr)
	}
	var report recoveryReport
	if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil {
		t.Fatal(err)
	}
	if report.Lost+report.PassedOver+report.Unexplained != 0 || len(report.Bare) != 2 {
		t.Errorf("report %s", got.Stdout)
	}
	// Nobody delivered while the dispatcher was dead: another one may take over after five
	// seconds, and half of the events take one.
	if report.Late < 100 || report.Latest < lateAfter || report.CaughtUp <= lateAfter {
		t.Errorf("the dispatcher was not killed: %s", got.Stdout)
	}
	if report.LastLate <= 0 || report.DrainRate <= 0 || report.MatchRate <= 0 || report.LiveCPU <= 0 || report.RecoverCPU <= 0 {
		t.Errorf("something was not measured: %s", got.Stdout)
	}
}

// Each loss and each duplicate counts, except for duplicates of what was in flight at the
// kill or answered just before it.
func TestRecoveryVerdict(t *testing.T) {
	killed := time.Now()
	at := func(d time.Duration) int64 { return killed.Add(d).UnixNano() }
	for _, tt := range []struct {
		name       string
		seen       sinkReport
		passedOver float64
		unfinished bool
		want       string
	}{
		{"all arrived", sinkReport{Received: 10}, 0, false, ""},
		{"in flight", sinkReport{Received: 10, Repeated: []int64{at(-300 * time.Millisecond), at(10 * time.Millisecond)}}, 0, false, ""},
		{"long before", sinkReport{Received: 10, Repeated: []int64{at(-time.Second)}}, 0, false, "0 pokes lost, 0 not delivered in time, 0 passed over, 1 twice without reason"},
		{"long after", sinkReport{Received: 10, Repeated: []int64{at(time.Second)}}, 0, false, "0 pokes lost, 0 not delivered in time, 0 passed over, 1 twice without reason"},
		{"lost", sinkReport{Received: 9}, 0, false, "1 pokes lost, 0 not delivered in time, 0 passed over, 0 twice without reason"},
		{"unfinished", sinkReport{Received: 7}, 2, true, "0 pokes lost, 1 not delivered in time, 2 passed over, 0 twice without reason"},
		{"passed over", sinkReport{Received: 8}, 2, false, "0 pokes lost, 0 not delivered in time, 2 passed over, 0 twice without reason"},
	} {
		r := recoveryReport{KilledAt: killed, DeadAt: killed.Add(20 * time.Millisecond), Slowest: 50 * time.Millisecond, Unfinished: tt.unfinished}
		r.conclude([]recoverySample{{}, {restarted: true, answers: true, dispatcher: scraped{passedOver: tt.passedOver}}}, tt.seen, 10)
		got := ""
		if err := r.verdict(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// The CPU time of recovery is that of the second dispatcher from its start and of NATS from
// the kill, until the last late poke; match is measured from its first event until it has
// caught up.
func TestRecoveryCosts(t *testing.T) {
	killed := time.Now()
	sample := func(after time.Duration, pokes int, cpu, nats time.Duration, restarted bool, d scraped) recoverySample {
		return recoverySample{at: killed.Add(after), pokes: pokes, cpu: cpu, nats: nats, restarted: restarted, answers: true, dispatcher: d}
	}
	ms := time.Millisecond
	r := recoveryReport{KilledAt: killed, DeadAt: killed, Rate: 100}
	r.conclude([]recoverySample{
		sample(-time.Second, 0, 5*ms, 5*ms, false, scraped{}),
		sample(0, 100, 10*ms, 10*ms, false, scraped{roomEvents: 100}),
		sample(1*time.Second, 100, 1*ms, 11*ms, true, scraped{}),
		sample(2*time.Second, 150, 8*ms, 15*ms, true, scraped{roomEvents: 50, toMatch: 500}),
		sample(3*time.Second, 300, 20*ms, 30*ms, true, scraped{roomEvents: 600, toMatch: 25}),
		sample(4*time.Second, 400, 90*ms, 90*ms, true, scraped{roomEvents: 700}),
	}, sinkReport{Received: 400, Late: 200, LateFrom: killed.Add(2 * time.Second).UnixNano(), LateUntil: killed.Add(2900 * ms).UnixNano()}, 400)
	if r.LiveCPU != 100 || r.RecoverCPU != 200 || r.MatchRate != 300 || r.CaughtUp != 2900*ms {
		t.Errorf("live %v, recovery %v µs per poke, match %v/s, caught up after %s", r.LiveCPU, r.RecoverCPU, r.MatchRate, r.CaughtUp)
	}
}

// A scrape adds the partitions up, by stage.
func TestParseScrape(t *testing.T) {
	got, err := parseScrape(strings.NewReader(`# TYPE poked_partition_owned gauge
poked_partition_owned{stage="match",partition="0"} 1
poked_partition_owned{stage="deliver",partition="0"} 1
poked_partition_owned{stage="strays",partition="0"} 1
# TYPE poked_partition_waiting_messages gauge
poked_partition_waiting_messages{stage="match",partition="0"} 5
poked_partition_waiting_messages{stage="deliver",partition="0"} 7
# TYPE poked_partition_open_messages gauge
poked_partition_open_messages{stage="match",partition="1"} 2
# TYPE poked_room_events_total counter
poked_room_events_total 9
# TYPE poked_pushers_lagging gauge
poked_pushers_lagging 4
# TYPE poked_notifications_passed_over_total counter
poked_notifications_passed_over_total 3
`))
	if want := (scraped{owned: 2, roomEvents: 9, toMatch: 7, toDeliver: 7, lagging: 4, passedOver: 3}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

// Flags that cannot be measured are a usage error.
func TestBenchRecoveryUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--events=1"}, {"--rate=0"}, {"--rate=NaN"}, {"--rooms=0"}, {"--users=0"}, {"--concurrency=0"}, {"--catch-up-limit=0"}, {"--at-most=0s"},
	} {
		if got := lab(t, append([]string{"bench", "recovery"}, args...)...); got.Code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, got.Code, cli.ExitUsage, got.Stderr)
		}
	}
}
