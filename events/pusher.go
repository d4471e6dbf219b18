package events

import (
	"encoding/json"
	"fmt"
	"time"
)

// Pusher is one address to which a user's notifications are poked, as it crosses NATS.
// Its identity is (user, AppID, Pushkey).
type Pusher struct {
	AppID             string          `json:"app_id"`
	Pushkey           string          `json:"pushkey"`
	Kind              string          `json:"kind"` // one of the Kind constants
	InstanceHandle    string          `json:"instance_handle,omitempty"`
	AppDisplayName    string          `json:"app_display_name"`
	DeviceDisplayName string          `json:"device_display_name"`
	Lang              string          `json:"lang"`
	Data              json.RawMessage `json:"data"` // object with "url", of a browser with "auth", as the client set it
	DeviceID          string          `json:"device_id,omitempty"`
	// Disabled pushers are kept but not poked (MSC3881, "enabled": false).
	Disabled bool `json:"disabled,omitempty"`
	// Inactive pushers are kept but not poked: a browser that has yet to acknowledge that pushes
	// reach it (MSC4174).
	Inactive bool `json:"inactive,omitempty"`
	// PushkeyTS is when the pusher was last set, in seconds since the Unix
	// epoch: the pushkey_ts of the Push Gateway API.
	PushkeyTS int64 `json:"pushkey_ts"`
	// Follows is the pusher before this one of the same device and app: what still waits for
	// that one when this one appears goes to this one. It is "" if there is none.
	Follows PusherID `json:"follows,omitempty"`
}

// The kinds of pushers that poked delivers to.
const (
	KindHTTP = "http"
	// KindWebPush is a browser (MSC4174), KindWebPushUnstable the same under the name that it
	// has until the specification has it.
	KindWebPush         = "webpush"
	KindWebPushUnstable = "org.matrix.msc4174.webpush"
)

// IsWebPush reports whether the pusher is a browser: its pushkey is a public key, and its URL a
// push resource (RFC 8030).
func (p *Pusher) IsWebPush() bool { return p.Kind == KindWebPush || p.Kind == KindWebPushUnstable }

// IsPoked reports whether the pusher is to be poked.
func (p *Pusher) IsPoked() bool { return !p.Disabled && !p.Inactive }

// UserPushers is the value of a key in the PUSHERS bucket: all pushers of one
// user. Version grows with every change of that user's pushers.
type UserPushers struct {
	UserID  UserID   `json:"user_id"`
	Version int64    `json:"version"`
	Pushers []Pusher `json:"pushers"`
	// Revision is the bucket's sequence of this change. It counts the changes of all
	// users, deletions included. Readers find it here; writers leave it 0.
	Revision uint64 `json:"-"`
	// At is when the value was stored; writers leave it zero.
	At time.Time `json:"-"`
}

// ParseUserPushers parses a value of the PUSHERS bucket.
func ParseUserPushers(raw []byte) (UserPushers, error) {
	var set UserPushers
	if err := json.Unmarshal(raw, &set); err != nil {
		return UserPushers{}, fmt.Errorf("decode pushers: %w", err)
	}
	if set.UserID == "" {
		return UserPushers{}, fmt.Errorf("decode pushers: user_id is missing")
	}
	return set, nil
}

// Rejection reports to the registry that a gateway refused a pushkey. The registry
// removes the pusher unless it was set again after PushkeyTS.
type Rejection struct {
	UserID     UserID          `json:"user_id"`
	AppID      string          `json:"app_id"`
	Pushkey    string          `json:"pushkey"`
	PushkeyTS  int64           `json:"pushkey_ts"`  // seconds; of the pusher that was poked
	RejectedAt int64           `json:"rejected_at"` // milliseconds since the Unix epoch
	Gateway    string          `json:"gateway"`     // origin of the gateway that refused it
	Reason     RejectionReason `json:"reason,omitempty"`
}

// RejectionReason is why a pusher is to be removed.
type RejectionReason string

// The reasons.
const (
	RejectedPushkey RejectionReason = ""     // the gateway rejected the pushkey
	RejectedGone    RejectionReason = "gone" // the gateway has been gone for longer than the operator waits (--retire-after)
)
