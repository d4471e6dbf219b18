package events

import (
	"context"
	"iter"
	"time"
)

// GatewayState is what a dispatcher knows of one push gateway while anything is
// going on there, as it tells operators.
type GatewayState struct {
	Origin      string       `json:"origin"` // scheme, host and port
	Worker      string       `json:"worker"` // the dispatcher, as its log names it
	State       GatewayPhase `json:"state"`
	InFlight    int          `json:"in_flight"`            // requests in flight
	Limit       int          `json:"limit"`                // requests that may be in flight at the same time
	Waiting     int          `json:"waiting"`              // pushers that wait for a place
	Lagging     int          `json:"lagging"`              // pushers that lag there
	LatencyMS   float64      `json:"latency_ms"`           // of the last requests, newest counting most
	ErrorRate   float64      `json:"error_rate"`           // likewise, 0 to 1
	LastError   string       `json:"last_error,omitempty"` // the last failure
	PausedUntil time.Time    `json:"paused_until,omitzero"`
	NextProbe   time.Time    `json:"next_probe,omitzero"`
}

// GatewayPhase is the state of a gateway at one dispatcher: mostly that of its circuit
// breaker.
type GatewayPhase string

// The states of a gateway.
const (
	GatewayClosed     GatewayPhase = "closed"     // it works
	GatewayOpen       GatewayPhase = "open"       // it is down: nothing is sent until the next probe
	GatewayProbing    GatewayPhase = "probing"    // it is down, and a probe is in flight
	GatewayRecovering GatewayPhase = "recovering" // it works again, and its concurrency limit grows
	GatewayPaused     GatewayPhase = "paused"     // it asked for a pause (Retry-After)
)

// GatewayPhases returns the states that a gateway may have.
func GatewayPhases() []GatewayPhase {
	return []GatewayPhase{GatewayClosed, GatewayOpen, GatewayProbing, GatewayRecovering, GatewayPaused}
}

// PusherState is what a dispatcher knows of one pusher that it has had something
// to tell, as it tells operators.
type PusherState struct {
	UserID      UserID      `json:"user_id"`
	AppID       string      `json:"app_id"`
	Pusher      PusherID    `json:"pusher"`
	Gateway     string      `json:"gateway"` // origin
	State       PusherPhase `json:"state"`
	LastSuccess time.Time   `json:"last_success,omitzero"`
	LastError   string      `json:"last_error,omitempty"` // the last failure
	LastErrorAt time.Time   `json:"last_error_at,omitzero"`
	Waiting     uint64      `json:"waiting"` // notifications it has yet to receive
	// Estimated says that Waiting is an upper bound: nobody has counted yet.
	Estimated  bool      `json:"estimated,omitempty"`
	PassedOver uint64    `json:"passed_over,omitempty"` // notifications it was not told because newer ones of the room were
	Attempts   int       `json:"attempts,omitempty"`    // failed in a row
	Since      time.Time `json:"since,omitzero"`        // when it began to lag
	NextTry    time.Time `json:"next_try,omitzero"`
}

// PusherPhase is the state of a pusher at the dispatcher that delivers to it.
type PusherPhase string

// The states of a pusher.
const (
	PusherIdle    PusherPhase = "idle"    // it has received everything
	PusherBusy    PusherPhase = "busy"    // a poke is in flight or about to be
	PusherLagging PusherPhase = "lagging" // it has a backlog, and is tried again
	PusherRefused PusherPhase = "refused" // its gateway rejected the pushkey
)

// PusherPhases returns the states that a pusher may have.
func PusherPhases() []PusherPhase {
	return []PusherPhase{PusherIdle, PusherBusy, PusherLagging, PusherRefused}
}

// PusherFilter says which pushers an operator means. Its zero value means all
// that a dispatcher knows; a pusher must answer to every field that is set.
type PusherFilter struct {
	UserID  UserID `json:"user_id,omitempty"`
	AppID   string `json:"app_id,omitempty"`
	Gateway string `json:"gateway,omitempty"` // origin

	State PusherPhase `json:"state,omitempty"`
}

// Narrows says whether the filter leaves anything out.
func (f PusherFilter) Narrows() bool { return f != PusherFilter{} }

// Admits says whether a pusher answers to the filter.
func (f PusherFilter) Admits(p *PusherState) bool {
	return (f.UserID == "" || f.UserID == p.UserID) && (f.AppID == "" || f.AppID == p.AppID) &&
		(f.Gateway == "" || f.Gateway == p.Gateway) && (f.State == "" || f.State == p.State)
}

// PusherCursor is a place in the order in which a dispatcher lists pushers: by
// partition, user and pusher. The zero value stands before all of them.
type PusherCursor struct {
	Part   int      `json:"part"`
	UserID UserID   `json:"user_id,omitempty"`
	Pusher PusherID `json:"pusher,omitempty"`
}

// OperatorHandler is what answers operators at a dispatcher. Its functions are
// called one at a time.
type OperatorHandler struct {
	// Pushers yields the pushers that filter admits and that stand after a
	// place, each with its own, until it is told to stop.
	Pushers func(ctx context.Context, filter PusherFilter, after PusherCursor) iter.Seq2[PusherState, PusherCursor]
	// Gateways returns the gateways where anything is going on, in any order.
	Gateways func() []GatewayState
	// Retry has the lagging pushers that filter admits tried now, and returns how
	// many they are.
	Retry func(ctx context.Context, filter PusherFilter) int
}
