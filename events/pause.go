package events

import (
	"time"
)

// Pause is the time until which a push gateway asked for no requests (Retry-After). It is
// the value of paused.<origin> in the GATEWAYS bucket, so that all dispatchers honour
// what one of them received.
type Pause struct {
	Origin string    `json:"origin"` // scheme, host and port of the gateway
	Until  time.Time `json:"until"`
}
