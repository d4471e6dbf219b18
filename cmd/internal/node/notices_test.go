package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"poked/events"
)

// seenAt is the state of a dispatcher at a second of a story, and what is reported then.
type seenAt struct {
	second int
	state  observed
	want   []string
}

func gatewayAt(origin string, phase events.GatewayPhase) observed {
	return observed{gateways: []events.GatewayState{{Origin: origin, State: phase, LastError: "http_502", Lagging: 3}}}
}

// What lasts is reported once, and once when it is over; what flaps is not.
func TestNoticesAreDebounced(t *testing.T) {
	const open, closed, probing, recovering = events.GatewayOpen, events.GatewayClosed, events.GatewayProbing, events.GatewayRecovering
	for name, story := range map[string][]seenAt{
		"a gateway goes and returns": {
			{0, gatewayAt("g", closed), nil}, {10, gatewayAt("g", open), nil}, {309, gatewayAt("g", probing), nil},
			{310, gatewayAt("g", open), []string{"gateway_down g 3"}}, {900, gatewayAt("g", open), nil},
			{1000, gatewayAt("g", recovering), nil}, {1299, gatewayAt("g", closed), nil}, {1300, gatewayAt("g", closed), []string{"gateway_recovered g 0"}},
			{9000, gatewayAt("g", closed), nil},
		},
		"a gateway flaps": {
			{0, gatewayAt("g", open), nil}, {200, gatewayAt("g", closed), nil}, {400, gatewayAt("g", open), nil}, {600, gatewayAt("g", closed), nil}, {990, gatewayAt("g", closed), nil},
		},
		"a gateway that was reported flaps": {
			{0, gatewayAt("g", open), nil}, {300, gatewayAt("g", open), []string{"gateway_down g 3"}},
			{400, gatewayAt("g", closed), nil}, {500, gatewayAt("g", open), nil}, {790, gatewayAt("g", closed), nil}, {1090, gatewayAt("g", closed), []string{"gateway_recovered g 0"}},
		},
		"nothing waits any more": {
			{0, gatewayAt("g", open), nil}, {300, gatewayAt("g", open), []string{"gateway_down g 3"}}, {310, observed{}, []string{"gateway_idle g 0"}}, {900, observed{}, nil},
		},
		"nobody was told": {{0, gatewayAt("g", open), nil}, {100, observed{}, nil}},
		"pushers": {
			{0, observed{lagging: 99}, nil}, {1, observed{lagging: 100}, nil}, {301, observed{lagging: 150}, []string{"pushers_failing  150"}},
			{400, observed{lagging: 60}, nil}, {900, observed{lagging: 51}, nil}, {1000, observed{lagging: 50}, nil}, {1300, observed{lagging: 0}, []string{"pushers_recovered  0"}},
		},
		"dead letters": {
			{0, observed{}, nil}, {1, observed{dead: 1}, nil}, {301, observed{dead: 6}, []string{"dead_letters  7"}}, {302, observed{dead: 1}, nil},
			{3900, observed{dead: 2}, nil}, {3901, observed{}, []string{"dead_letters  3"}}, {9000, observed{}, nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := noticeWatch{flags: NotifyFlags{After: 5 * time.Minute, Lagging: 100}, gateways: map[string]*cause{}}
			began := time.Unix(1_700_000_000, 0)
			for _, at := range story {
				var got []string
				for _, n := range w.look(at.state, began.Add(time.Duration(at.second)*time.Second)) {
					got = append(got, fmt.Sprint(n.Kind, " ", n.Gateway, " ", n.Count))
					if n.Text == "" || n.At.IsZero() {
						t.Errorf("%+v lacks a text or a time", n)
					}
				}
				if !slices.Equal(got, at.want) {
					t.Errorf("at %d s: %q, want %q", at.second, got, at.want)
				}
			}
			if len(w.gateways) > 1 {
				t.Errorf("gateways are kept: %v", w.gateways)
			}
		})
	}
}

// One dispatcher speaks for all: it reports the worst that any has of a gateway, once, and counts
// the letters of each since it last looked.
func TestDeploymentIsSeenWhole(t *testing.T) {
	leads, away := true, error(nil)
	states := []events.DispatcherState{{Worker: "a", Dead: 5, PutAside: 2, Lagging: 1}, {Worker: "b", Unreadable: 1, Lagging: 2}}
	gateways := []events.GatewayState{
		{Origin: "g", State: events.GatewayClosed, Lagging: 1}, {Origin: "h", State: events.GatewayClosed},
		{Origin: "g", State: events.GatewayOpen, Lagging: 2, LastError: "http_502"}, {Origin: "g", State: events.GatewayClosed},
	}
	d := &deployment{
		leads:       func() bool { return leads },
		dispatchers: func(context.Context) ([]events.DispatcherState, error) { return states, away },
		gateways:    func(context.Context) ([]events.GatewayState, error) { return gateways, nil },
		letters:     map[string]uint64{},
	}
	look := func(dead uint64) {
		t.Helper()
		got, ok, err := d.look(t.Context())
		if err != nil || !ok || got.dead != dead || got.lagging != 3 {
			t.Fatalf("%+v, %v, %v; want %d dead", got, ok, err, dead)
		}
		want := []events.GatewayState{{Origin: "g", State: events.GatewayOpen, Lagging: 3, LastError: "http_502"}, {Origin: "h", State: events.GatewayClosed}}
		if !slices.Equal(got.gateways, want) {
			t.Fatalf("gateways are %+v, want %+v", got.gateways, want)
		}
	}
	look(4) // since the start
	look(0)
	states[0].Dead++
	states[1] = events.DispatcherState{Worker: "c", Unreadable: 2, Lagging: 2} // b restarted
	look(3)
	away = errors.New("one does not answer")
	if _, _, err := d.look(t.Context()); !errors.Is(err, away) {
		t.Errorf("a deployment of which one does not answer: %v", err)
	}
	away, leads = nil, false
	if got, ok, err := d.look(t.Context()); ok || err != nil {
		t.Errorf("%+v of another's deployment, %v", got, err)
	}
	leads = true
	look(0) // the other has reported what is there
}
