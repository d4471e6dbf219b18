package events

import (
	"context"
	"iter"
	"time"
)

// GatewayState is a dispatcher's report to operators on one push gateway that is in
// use.
type GatewayState struct {
	Origin      string       `json:"origin"` // scheme, host and port
	Worker      string       `json:"worker"` // the dispatcher, as its log names it
	State       GatewayPhase `json:"state"`
	InFlight    int          `json:"in_flight"`            // requests in flight
	Limit       int          `json:"limit"`                // concurrency limit
	MaxBody     int          `json:"max_body,omitempty"`   // bytes that a poke may have, if that is configured or was learned
	Waiting     int          `json:"waiting"`              // pushers that wait for a free slot
	Lagging     int          `json:"lagging"`              // pushers that lag there
	LatencyMS   float64      `json:"latency_ms"`           // moving average of about [GatewayWindow] requests, in milliseconds
	ErrorRate   float64      `json:"error_rate"`           // likewise, 0 to 1
	LastError   string       `json:"last_error,omitempty"` // the last failure
	PausedUntil time.Time    `json:"paused_until,omitzero"`
	NextProbe   time.Time    `json:"next_probe,omitzero"`
	// Since is when it got into this state: down, paused, or working again. It is zero for a
	// gateway that has worked ever since the dispatcher knows it.
	Since time.Time `json:"since,omitzero"`
}

// GatewayWindow is how many of the newest requests the averages of a gateway stand for: a
// moving average that gives the newest one the weight 2/(n+1) is about as old as the mean of
// n requests.
const GatewayWindow = 31

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
	GatewayCapacity   GatewayPhase = "capacity"   // it works, and pokes are late since the dispatcher is at its limit
)

// GatewayPhases returns the states that a gateway may have.
func GatewayPhases() []GatewayPhase {
	return []GatewayPhase{GatewayClosed, GatewayOpen, GatewayProbing, GatewayRecovering, GatewayPaused, GatewayCapacity}
}

// PusherState is what a dispatcher reports to operators about one pusher that it has had
// something to deliver to.
type PusherState struct {
	UserID      UserID      `json:"user_id"`
	AppID       string      `json:"app_id"`
	Pusher      PusherID    `json:"pusher"`
	Gateway     string      `json:"gateway"` // origin
	State       PusherPhase `json:"state"`
	LastSuccess time.Time   `json:"last_success,omitzero"`
	LastError   string      `json:"last_error,omitempty"` // the last failure
	LastErrorAt time.Time   `json:"last_error_at,omitzero"`
	Waiting     uint64      `json:"waiting"` // undelivered notifications
	// Estimated reports that Waiting is an upper bound, because nothing has been counted
	// yet.
	Estimated  bool      `json:"estimated,omitempty"`
	PassedOver uint64    `json:"passed_over,omitempty"` // notifications that were skipped in favour of a newer one in the same room
	Attempts   int       `json:"attempts,omitempty"`    // failed in a row
	Because    string    `json:"because,omitempty"`     // why it lags: a class of failure, or active, behind, slow, stopped
	Since      time.Time `json:"since,omitzero"`        // when the pusher began to lag
	NextTry    time.Time `json:"next_try,omitzero"`
}

// Failing reports whether what is sent to the pusher fails. A pusher may lag without that: its
// user reads elsewhere, notifications came too fast, or its dispatcher changed.
func (s *PusherState) Failing() bool {
	switch s.Because {
	case "", "active", "behind", "stopped", "moved", "record":
		return s.State == PusherRefused
	}
	return true
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

// PusherFilter selects pushers. A pusher must match every field that is set; the zero
// value selects all that a dispatcher knows.
type PusherFilter struct {
	UserID  UserID `json:"user_id,omitempty"`
	AppID   string `json:"app_id,omitempty"`
	Gateway string `json:"gateway,omitempty"` // origin

	Pusher PusherID    `json:"pusher,omitempty"`
	State  PusherPhase `json:"state,omitempty"`
}

// Narrows reports whether the filter excludes anything.
func (f PusherFilter) Narrows() bool { return f != PusherFilter{} }

// Admits reports whether a pusher matches the filter.
func (f PusherFilter) Admits(p *PusherState) bool {
	return (f.UserID == "" || f.UserID == p.UserID) && (f.AppID == "" || f.AppID == p.AppID) &&
		(f.Gateway == "" || f.Gateway == p.Gateway) && (f.Pusher == "" || f.Pusher == p.Pusher) && (f.State == "" || f.State == p.State)
}

// RetriedPushers is the result of retrying pushers.
type RetriedPushers struct {
	Pushers int `json:"pushers"` // that the filter admits
	Retried int `json:"retried"` // of those, the ones that lag and are tried now
}

// SkippedPushers is the result of skipping pokes.
type SkippedPushers struct {
	Pushers int `json:"pushers"` // that the filter admits
	Skipped int `json:"skipped"` // of those, the ones of which a poke was put aside
}

// PusherCursor is a place in the order in which a dispatcher lists pushers: by partition,
// user and pusher. The zero value is before all of them.
type PusherCursor struct {
	Part   int      `json:"part"`
	UserID UserID   `json:"user_id,omitempty"`
	Pusher PusherID `json:"pusher,omitempty"`
}

// OperatorHandler answers operators' requests to a dispatcher. Its functions are called
// one at a time.
type OperatorHandler struct {
	// Pushers yields the pushers that filter admits and that come after a place, each
	// with its own place, until the loop ends.
	Pushers func(ctx context.Context, filter PusherFilter, after PusherCursor) iter.Seq2[PusherState, PusherCursor]
	// Gateways returns the gateways that are in use, in any order.
	Gateways func() []GatewayState
	// State returns what the dispatcher does as a whole.
	State func() DispatcherState
	// Retry retries the lagging pushers that filter admits now.
	Retry func(ctx context.Context, filter PusherFilter) RetriedPushers
	// Skip puts aside the poke at which each lagging pusher is stuck that filter admits.
	Skip func(ctx context.Context, filter PusherFilter) SkippedPushers
}

// Removal is the record of a removed pusher.
type Removal struct {
	ID       int64    `db:"id" json:"id"`                 // in the registry's database; newer ones have larger ids
	At       int64    `db:"removed_at" json:"removed_at"` // seconds since the Unix epoch
	UserID   UserID   `db:"user_id" json:"user_id"`
	AppID    string   `db:"app_id" json:"app_id"`
	PusherID PusherID `db:"pusher_id" json:"pusher"`
	Reason   string   `db:"reason" json:"reason"`
}
