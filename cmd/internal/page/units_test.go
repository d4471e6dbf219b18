package page

import (
	"strings"
	"testing"
	"time"

	"poked/cmd/internal/operate"
	"poked/dispatcher/poke"
	"poked/dispatcher/trace"
	"poked/events"
	"poked/events/operator"
	"poked/events/stream"
)

// Rates are counted by dispatcher: one that began, did not answer for a while, or started anew
// makes no peak. The last hour is kept.
func TestRates(t *testing.T) {
	var r rates
	now := time.Now()
	state := func(worker string, delivered uint64) events.DispatcherState {
		return events.DispatcherState{Worker: worker, Delivered: delivered}
	}
	r.add([]events.DispatcherState{state("a", 1000)}, now)
	if len(r.all()) != 0 {
		t.Error("there is a rate after one sample")
	}
	at := func(i int) time.Time { return now.Add(time.Duration(i) * sampleEvery) }
	for i, c := range []struct {
		states []events.DispatcherState
		want   float64
	}{
		1: {[]events.DispatcherState{state("a", 1100)}, 10},
		2: {[]events.DispatcherState{state("a", 1200), state("b", 5000)}, 10}, // b is new here
		3: {[]events.DispatcherState{state("b", 5050)}, 5},                    // a does not answer
		4: {[]events.DispatcherState{state("a", 1600), state("b", 5050)}, 20}, // 400 in 20 s
		5: {[]events.DispatcherState{state("a", 3), state("b", 5050)}, 0},     // began anew under the same name
	} {
		if i == 0 {
			continue
		}
		r.add(c.states, at(i))
		if all := r.all(); all[len(all)-1].values[ratePokes] != c.want {
			t.Errorf("sample %d: %v a second, want %v", i, all[len(all)-1].values[ratePokes], c.want)
		}
	}
	for i := range 2 * maxSamples {
		r.add(nil, at(10+i))
	}
	if n := len(r.all()); n != maxSamples {
		t.Errorf("%d samples are kept, want %d", n, maxSamples)
	}
}

// A plot has a line for each run of samples, and its figures in words.
func TestPlot(t *testing.T) {
	now := time.Now()
	var points []point
	for i := range 20 {
		p := point{at: now.Add(-time.Duration(40-i) * sampleEvery)}
		if i >= 10 {
			p.at = p.at.Add(10 * time.Minute / 2)
		}
		p.values[ratePokes] = float64(i)
		points = append(points, p)
	}
	p := newPlot(points, ratePokes, now)
	if p.Now != "19" || p.Mean != "9.5" || p.Most != "19" || strings.Count(p.Line, "M") != 2 || strings.Count(p.Area, "Z") != 2 || strings.Contains(p.Line, "NaN") {
		t.Errorf("%+v", p)
	}
	if flat := newPlot(points, rateEvents, now); flat.Now != "0" || strings.Contains(flat.Line, "NaN") {
		t.Errorf("%+v", flat)
	}
	if none := newPlot(nil, 0, now); none.Now != "–" || none.Line != "" {
		t.Errorf("%+v", none)
	}
}

// Every state, class of failure, fate and reason has words of its own.
func TestEverythingHasWords(t *testing.T) {
	now := time.Now()
	for class := range poke.Classes {
		if text := operate.Failure(class.String()); text == class.String() || text == "" {
			t.Errorf("the class %s has no words", class)
		}
		s := pusherState(&events.PusherState{State: events.PusherLagging, Because: class.String()}, now)
		if s.Word == "" || s.Detail == "" {
			t.Errorf("a pusher that lags because of %s has no words", class)
		}
	}
	words := map[string]bool{}
	for _, phase := range events.PusherPhases() {
		words[pusherState(&events.PusherState{State: phase}, now).Word] = true
	}
	if len(words) != len(events.PusherPhases()) {
		t.Errorf("states of pushers share words: %v", words)
	}
	for _, phase := range events.GatewayPhases() {
		if s := gatewayState(&events.GatewayState{State: phase}, now); s.Word == "works" != (phase == events.GatewayClosed) {
			t.Errorf("the gateway's state %s is %q", phase, s.Word)
		}
	}
	for _, reason := range append(events.DeadReasons(), events.DeadUnreadable) {
		if reasonWords(reason) == "" {
			t.Errorf("the reason %s has no words", reason)
		}
	}
	for _, fate := range []trace.Fate{
		trace.FateDelivered, trace.FateRejected, trace.FateDead, trace.FateWaiting, trace.FateRead, trace.FateRedacted, trace.FatePassedOver, trace.FateRingOver, trace.FateQuiet, trace.FateDisabled, trace.FateInactive, trace.FateUnknown,
	} {
		if fateState(fate).Word == fateState(trace.FateNone).Word {
			t.Errorf("the fate %s has no words", fate)
		}
	}
}

// "Is it well?" finds what is not, and puts the worst first.
func TestFindings(t *testing.T) {
	now := time.Now()
	owned := func(parts ...int) (all []events.OwnedPartition) {
		for _, part := range parts {
			all = append(all, events.OwnedPartition{Stage: "match", Part: part}, events.OwnedPartition{Stage: "deliver", Part: part})
		}
		return all
	}
	whole := func() *look {
		return &look{
			connected: true, partitions: 2, dispatchers: []events.DispatcherState{{Worker: "a", Owned: owned(0)}, {Worker: "b", Owned: owned(1)}},
			processes: []events.ProcessState{{ID: "1", Roles: []string{"dispatcher"}, Version: "v1"}},
			streams:   []stream.Status{{Name: "ROOMS", Replicas: 3, Current: 3}, {Name: "DEAD", Replicas: 3, Current: 3, Messages: 7}},
			gateways:  []events.GatewayState{{Origin: "https://a:443", State: events.GatewayClosed}},
		}
	}
	if w := newWell(whole(), nil, now); w.State.Word != "All is well." || w.State.Level != good || len(w.Findings) != 0 || w.Dead != 7 {
		t.Errorf("a whole one: %+v %+v", w.State, w.Findings)
	}
	for want, breaks := range map[string]func(*look){
		"NATS is away":                            func(l *look) { l.connected = false },
		"No dispatcher answers":                   func(l *look) { l.dispatchers, l.dispatchersErr = nil, operator.ErrNoDispatcher },
		"works on match of partition 1":           func(l *look) { l.dispatchers = l.dispatchers[:1] },
		"Two dispatchers work on match":           func(l *look) { l.dispatchers[0].Owned = owned(0, 1) },
		"Deliver of partition 1 makes no":         func(l *look) { l.dispatchers[1].Owned[1].Trouble = "stuck" },
		"1 dispatcher has more to do than it can": func(l *look) { l.dispatchers[1].Limited = true },
		"The stream ROOMS is missing":             func(l *look) { l.streams[0].Missing = true },
		"The stream ROOMS is not fully":           func(l *look) { l.streams[0].Current = 2 },
		"The stream ROOMS is without a leader":    func(l *look) { l.streams[0].Current = 0 },
		"is not ready: nats is away":              func(l *look) { l.processes[0].Unready = []string{"nats is away"} },
		"has waited for 1h0m":                     func(l *look) { l.dispatchers[0].OldestDue = now.Add(-time.Hour) },
		"Processes of different versions run":     func(l *look) { l.processes = append(l.processes, events.ProcessState{ID: "2", Version: "v2"}) },
		"push gateway https://a is down, and 3":   func(l *look) { l.gateways[0].State, l.gateways[0].Lagging = events.GatewayOpen, 3 },
		"push gateway https://a is paused":        func(l *look) { l.gateways[0].State = events.GatewayPaused },
		"push gateway https://a is unreliable":    func(l *look) { l.gateways[0].ErrorRate = 0.5 },
		"2 of 2 push gateways are down": func(l *look) {
			l.gateways = []events.GatewayState{{Origin: "https://a:443", State: events.GatewayOpen}, {Origin: "https://b:443", State: events.GatewayProbing}}
		},
	} {
		l := whole()
		breaks(l)
		w := newWell(l, nil, now)
		if !strings.Contains(w.State.Word, want) || w.State.Level == good {
			t.Errorf("want %q, it says %+v, and %+v", want, w.State, w.Findings)
		}
	}
	l := whole()
	l.gateways[0].State, l.processes[0].Unready, l.streams[0].Current = events.GatewayPaused, []string{"x"}, 2
	if w := newWell(l, nil, now); w.State.Level != bad || len(w.Findings) != 2 || !strings.Contains(w.State.Detail, "2 more findings") {
		t.Errorf("three findings: %+v, %+v", w.State, w.Findings)
	}
}

// An action that goes on shows how far it is, with a bar that a screen reader can read, and in the
// end its result. The history forgets the oldest.
func TestProgress(t *testing.T) {
	v, err := parseViews()
	if err != nil {
		t.Fatal(err)
	}
	var h history
	id := h.begin(entry{At: time.Now(), What: "Drop all"})
	text := func() string {
		var b strings.Builder
		e, _ := h.get(id)
		if err := v.byName["entry"].ExecuteTemplate(&b, "progress", &frame{Data: e}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	h.change(id, func(e *entry) { e.Done, e.All = 3, 10 })
	if got := text(); !strings.Contains(got, `max="10" value="3"`) || !strings.Contains(got, "3 of 10") || !strings.Contains(got, "running") {
		t.Errorf("while it runs: %s", got)
	}
	h.end(id, state{good, "done", ""}, "first\nsecond")
	if got := text(); strings.Contains(got, "<progress") || !strings.Contains(got, "<p>first</p><p>second</p>") {
		t.Errorf("in the end: %s", got)
	}
	for range maxHistory {
		h.begin(entry{})
	}
	if _, known := h.get(id); known || len(h.newest()) != maxHistory || h.newest()[0].ID != id+maxHistory {
		t.Errorf("%d actions are remembered", len(h.newest()))
	}
}
