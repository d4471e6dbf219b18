package events

import (
	"time"
)

// Pause says until when a push gateway asked to be left alone, as the GATEWAYS
// bucket keeps it under paused.<origin>, so that every dispatcher obeys what one
// of them was told.
type Pause struct {
	Origin string    `json:"origin"` // scheme, host and port of the gateway
	Until  time.Time `json:"until"`
}
