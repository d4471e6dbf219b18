package node

import (
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
			{0, observed{}, nil}, {1, observed{dead: 1}, nil}, {301, observed{dead: 7}, []string{"dead_letters  7"}}, {302, observed{dead: 8}, nil},
			{3900, observed{dead: 10}, nil}, {3901, observed{dead: 10}, []string{"dead_letters  3"}}, {9000, observed{dead: 10}, nil},
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
