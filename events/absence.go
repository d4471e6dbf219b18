package events

import "time"

// Absence is for how long a push gateway has been gone, as far as dispatchers have seen. It is the
// value of gone.<origin> in the GATEWAYS bucket, so that it outlasts them and is one for all.
type Absence struct {
	Origin string    `json:"origin"`       // scheme, host and port of the gateway
	Gone   int64     `json:"gone_seconds"` // while it was tried and others worked; 0 once it works again
	At     time.Time `json:"at"`           // until when that is known
}
