package chaos

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// After each kill the report has when the last partition was delivered again, whatever arrived
// elsewhere before, and what had been sent already does not count.
func TestChaosResumption(t *testing.T) {
	c := newSampleRun(t)
	c.partitions = 8
	var other *person // of another partition
	for _, u := range c.people.users {
		if u != c.user && partOf(u, c.partitions) != partOf(c.user, c.partitions) {
			other = u
			break
		}
	}
	other.pushkeys, other.gateways = []string{"other"}, []int{0}
	killed := c.Pokes[9].Arrived.Add(10 * time.Second)
	poke := func(u *person, after time.Duration, status int) {
		c.Pokes = append(c.Pokes, request{Pushkey: u.pushkeys[0], Event: "$9", Room: c.room.id, Arrived: killed.Add(after), Status: status})
	}
	poke(c.user, inFlight/2, 200) // was in flight
	poke(other, time.Second, 200)
	poke(c.user, 2*time.Second, 503)
	poke(c.user, 3*time.Second, 200)
	poke(other, 4*time.Second, 200)
	for _, f := range []fault{
		{Track: "dispatcher", Kind: faultKill, Victim: victimBusiest}, {Track: "dispatcher", Kind: faultPause}, {Track: "registry", Kind: faultKill},
	} {
		c.Faults = append(c.Faults, injected{fault: f, gateway: -1, From: killed, To: killed})
	}
	report := c.check()
	want := resumption{Fault: "dispatcher: kill busiest", At: killed, After: 3 * time.Second, Part: partOf(c.user, c.partitions)}
	if len(report.Resumed) != 1 || report.Resumed[0] != want {
		t.Errorf("resumed: %+v, want %+v", report.Resumed, want)
	}
	report.Resumed = append(report.Resumed, resumption{Fault: "nats: kill leader", After: 5 * time.Second}, resumption{Fault: "nats: kill leader", After: 9 * time.Second})
	var out strings.Builder
	if err := report.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"kills under load, all partitions delivered again 3: after 9s at most, median 5s",
		"dispatcher: kill busiest 1: after 3s at most, median 3s", "nats: kill leader 2: after 9s at most, median 9s",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), line) {
			t.Errorf("no %q in\n%s", line, out.String())
		}
	}
}

// A stage of a partition that could not be read is reported with the reason, until it was read
// again; what its process did not survive is not.
func TestChaosStoppages(t *testing.T) {
	logs := &deliveryLogs{stopped: map[string]stoppage{}, troubles: make([][]time.Time, 2)}
	line := func(dispatcher, second int, message, more string) {
		logs.take(dispatcher, fmt.Appendf(nil, `{"time":"2026-01-01T00:00:%02dZ","msg":%q%s}`, second, message, more))
	}
	line(0, 1, stopsReading, `,"stage":"deliver","part":3,"error":"pull: 503"`)
	line(0, 1, stopsReading, `,"bucket":"PUSHERS","error":"pull: 503"`)
	line(1, 2, stopsReading, `,"stage":"deliver","part":3,"error":"killed before it reads again"`)
	line(0, 3, readsAgain, `,"stage":"deliver","part":4`)
	line(1, 4, startsAnew, ``)
	line(1, 5, readsAgain, `,"stage":"deliver","part":3`)
	line(0, 9, readsAgain, `,"stage":"deliver","part":3`)
	if len(logs.stoppages) != 1 || logs.stoppages[0].For != 8*time.Second || logs.stoppages[0].Error != "pull: 503" || logs.stoppages[0].Reader != "deliver 3" {
		t.Errorf("%+v", logs.stoppages)
	}
}

// Before a kill events come faster, and only then.
func TestChaosKillsAreUnderLoad(t *testing.T) {
	p := pace{usual: 20, hurried: 200}
	for _, f := range []fault{{Track: "dispatcher", Kind: faultPause}, {Track: "registry", Kind: faultKill}, {Track: "database", Kind: faultKill}} {
		if f.hurries() {
			t.Errorf("%s of %s", f.Kind, f.Track)
		}
	}
	if kill := (fault{Track: "nats", Kind: faultKill}); !kill.hurries() || p.now() != 20 {
		t.Errorf("%v events per second before a kill", p.now())
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		time.AfterFunc(time.Second, func() { p.kills.Add(1) })
		p.wait(t.Context(), 20+100) // a second, and half of one
		if took := time.Since(began); took < 1400*time.Millisecond || took > 1600*time.Millisecond {
			t.Errorf("it took %v until so many events were due", took)
		}
		p.kills.Add(-1)
	})
	p.kills.Add(2)
	p.kills.Add(-1)
	if p.now() != 200 {
		t.Errorf("%v events per second at a kill", p.now())
	}
}
