package directory

import (
	"bytes"
	"time"

	"poked/events"
	"poked/events/pushgateway"
	"poked/events/webpush"
)

// Pusher is one registered pusher, ready to be poked. It never changes: a pusher that is
// set again is a new value with the same id.
type Pusher struct {
	ID        events.PusherID
	User      events.UserID
	AppID     string
	Pushkey   string
	PushkeyTS int64            // when it was set, in seconds since the Unix epoch
	Handle    string           // instance handle, which finds the device's own push rules; may be ""
	Data      []byte           // a JSON object, without url
	URL       *pushgateway.URL // of the gateway; nil if Refused
	Refused   error            // why the policy forbids poking the pusher, or nil
	EventOnly bool             // data.format is event_id_only
	NoBadge   bool             // data asks for no counts (MSC4076)
	Cleared   bool             // data asks for a poke when the user has read something ("poked.cleared")
	NamesUser bool             // data asks for the user's id in each poke ("poked.user_id")
	Avatar    bool             // data asks for the room's avatar ("poked.room_avatar")
	TTL       time.Duration    // data asks for pokes no older than this ("poked.ttl"); 0 if it does not
	Web       *Browser         // what only a browser has; nil for others
	Follows   events.PusherID  // the pusher before it of the same device and app, or ""
}

// Browser is what a pusher has that is a browser (MSC4174). Its pushkey is its public key, and its
// URL a push resource (RFC 8030).
type Browser struct {
	*webpush.Subscription

	LastPerRoom bool // data asks for only the newest notification of each room ("only_last_per_room")
	EventsOnly  bool // data asks for no badge-only pokes ("events_only"): it must show something for each
}

// RefusedOrigin is the origin of pushers that must not be poked.
const RefusedOrigin = "refused"

// Origin names the pusher's gateway.
func (p *Pusher) Origin() string {
	if p.URL == nil {
		return RefusedOrigin
	}
	return p.URL.Origin()
}

// Wants reports whether a notification of the user concerns this pusher. It does not if it
// is meant for other devices, or is repeated for another pusher alone.
func (p *Pusher) Wants(n *events.Notification) bool {
	return (n.Only == "" || n.Only == p.ID) && n.Reaches(p.Handle)
}

// Same reports whether two values of a pusher are equal in everything that a poke depends
// on.
func (p *Pusher) Same(q *Pusher) bool {
	return p == q || p.ID == q.ID && p.PushkeyTS == q.PushkeyTS && p.Handle == q.Handle && p.Origin() == q.Origin() && bytes.Equal(p.Data, q.Data)
}
