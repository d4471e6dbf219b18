package events

import (
	"context"
	"iter"
	"time"
)

// GatewayState is what a dispatcher knows of one push gateway while anything is
// going on there, as it tells operators.
type GatewayState struct {
	Origin string `json:"origin"` // scheme, host and port
	Worker string `json:"worker"` // the dispatcher, as its log names it
	// State is "closed" while the gateway is used as ever, "open" while it is
	// down and only asked now and then how it is, "probing" while it is being
	// asked, "recovering" while what it gets grows again, "paused" while it has
	// asked to be left alone.
	State       string    `json:"state"`
	InFlight    int       `json:"in_flight"`            // requests that are out
	Limit       int       `json:"limit"`                // requests that may be out at the same time
	Waiting     int       `json:"waiting"`              // pushers that wait for a place
	Lagging     int       `json:"lagging"`              // pushers that lag there
	LatencyMS   float64   `json:"latency_ms"`           // of the last requests, newest counting most
	ErrorRate   float64   `json:"error_rate"`           // likewise, 0 to 1
	LastError   string    `json:"last_error,omitempty"` // class of the last failure
	PausedUntil time.Time `json:"paused_until,omitzero"`
	NextProbe   time.Time `json:"next_probe,omitzero"`
}

// PusherState is what a dispatcher knows of one pusher that it has had something
// to tell, as it tells operators.
type PusherState struct {
	UserID  UserID   `json:"user_id"`
	AppID   string   `json:"app_id"`
	Pusher  PusherID `json:"pusher"`
	Gateway string   `json:"gateway"` // origin
	// State is "idle", "busy" while something is on its way, "lagging" while it
	// has not been told all, "refused" when its gateway refused the pushkey.
	State       string    `json:"state"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	LastError   string    `json:"last_error,omitempty"` // class of the last failure
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	Waiting     uint64    `json:"waiting"` // notifications it has not been told
	// Estimated says that Waiting is an upper bound: nobody has counted yet.
	Estimated  bool      `json:"estimated,omitempty"`
	PassedOver uint64    `json:"passed_over,omitempty"` // notifications it was not told because newer ones of the room were
	Attempts   int       `json:"attempts,omitempty"`    // failed in a row
	Since      time.Time `json:"since,omitzero"`        // when it began to lag
	NextTry    time.Time `json:"next_try,omitzero"`
}

// PusherFilter says which pushers an operator means. Its zero value means all
// that a dispatcher knows; a pusher must answer to every field that is set.
type PusherFilter struct {
	UserID  UserID `json:"user_id,omitempty"`
	AppID   string `json:"app_id,omitempty"`
	Gateway string `json:"gateway,omitempty"` // origin
	State   string `json:"state,omitempty"`   // as in [PusherState]
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
