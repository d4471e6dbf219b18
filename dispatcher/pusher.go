package dispatcher

import (
	"bytes"

	"poked/events"
	"poked/events/pushgateway"
)

// pusher is one registered pusher, ready to be poked. It never changes: a
// pusher that is set again is a new value with the same id.
type pusher struct {
	id        events.PusherID
	user      events.UserID
	appID     string
	pushkey   string
	pushkeyTS int64
	handle    string // instance handle, by which push rules of its own are found
	data      []byte // without url
	url       *pushgateway.URL
	refused   error // why url is none that may be poked; then url is nil
	eventOnly bool  // data.format is event_id_only
	noBadge   bool  // data asks for no counts (MSC4076)
}

// refusedOrigin stands for the gateway of pushers that may not be poked.
const refusedOrigin = "refused"

// origin names the pusher's gateway.
func (p *pusher) origin() string {
	if p.url == nil {
		return refusedOrigin
	}
	return p.url.Origin()
}

// hears says whether a notification of its user's is for the pusher: not one that
// is for other devices, or that is told again to one pusher alone.
func (p *pusher) hears(n *events.Notification) bool {
	return (n.Only == "" || n.Only == p.id) && n.Reaches(p.handle)
}

// same says whether nothing has changed between two values of a pusher.
func (p *pusher) same(q *pusher) bool {
	return p == q || p.id == q.id && p.pushkeyTS == q.pushkeyTS && p.handle == q.handle && p.origin() == q.origin() && bytes.Equal(p.data, q.data)
}
