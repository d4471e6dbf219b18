package deliver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/tidwall/gjson"

	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/pushgateway"
)

// A browser is poked like any other pusher, in the same lanes and at the same gateways, of which
// its push service is one. Only the request differs (RFC 8030): the body is the notification
// object of the Push Gateway API, as the value of "notification" in an http poke, encrypted for
// the browser; what a gateway would do with the rest is in headers.
//
//	notification ──▶ shortened to 3993 bytes (payload.go) ──▶ Seal ──▶ Push, with TTL, Urgency, Topic

// push sends a poke to a browser.
func (d *Deliverer) push(s *sender, p *outgoing, now time.Time) (out poke.Outcome) {
	signer := d.VAPID.Load()
	if signer == nil {
		return poke.Outcome{Kind: poke.Retry, Class: poke.ClassNoVAPID}
	}
	message := messageIn(s.body)
	sealed, err := d.Sealer.Seal(s.sealed[:0], message, p.pusher.Web.Subscription)
	if err != nil { // only if it is too large even so, which its ids do not allow
		return poke.Outcome{Kind: poke.Slow, Class: poke.ClassBodyTooLarge}
	}
	s.sealed = sealed
	authorization, err := signer.Authorization(p.pusher.URL.WebOrigin(), now)
	if err != nil { // cannot happen with a valid key
		return poke.Outcome{Kind: poke.Retry, Class: poke.ClassNoVAPID}
	}
	request := poke.Push{
		URL: p.pusher.URL.String(), Body: sealed, Authorization: authorization,
		TTL: p.lasts(d.timeToLive(p.pusher, &p.n), now), Urgency: p.urgency(message), Topic: p.topic(),
	}
	d.Client.Push(&request, func(a poke.Answer) { out = poke.DecidePush(a, time.Now()) })
	return out
}

// lasts returns how long a push service may keep a poke for its browser.
func (p *outgoing) lasts(ttl time.Duration, now time.Time) time.Duration {
	left := ttl - p.age(now)
	if p.n.Rings() {
		left = min(left, time.UnixMilli(p.n.RingsUntil).Sub(now))
	}
	return max(left, time.Second)
}

// messageIn returns the message for a browser in the body of an http poke.
func messageIn(body []byte) []byte { return body[len(`{"notification":`) : len(body)-len(`}`)] }

// The urgencies of pushes (RFC 8030, section 5.3). One with low urgency waits until a device is
// charged or on a network that costs nothing, which is right for a mere unread count. Of two
// notifications the one with prio low still is to be shown.
const (
	urgent  = "high"
	usual   = "normal"
	anyTime = "low"
)

// urgency returns that of a poke.
func (p *outgoing) urgency(message []byte) string {
	switch {
	case p.badge:
		return anyTime
	case gjson.GetBytes(message, "prio").Str == pushgateway.Low.String():
		return usual
	}
	return urgent
}

// topic returns the topic of a poke (RFC 8030, section 5.4), by which it replaces another of its
// room that the browser has not fetched yet, if the client asked for that. The push service cannot
// tell the room from it.
func (p *outgoing) topic() string {
	if !p.pusher.Web.LastPerRoom {
		return ""
	}
	digest := hmac.New(sha256.New, p.pusher.Web.Auth())
	_, _ = digest.Write([]byte(p.room)) // a hash never fails
	return base64.RawURLEncoding.EncodeToString(digest.Sum(nil)[:24])
}

// acceptances are the last two browsers of which a push service has accepted our key.
type acceptances [2]struct {
	pusher events.PusherID
	at     time.Time
}

// add records that a push to a browser was accepted.
func (a *acceptances) add(pusher events.PusherID, now time.Time) {
	if a[0].pusher != pusher {
		a[1] = a[0]
	}
	a[0].pusher, a[0].at = pusher, now
}

// ofOthers returns when a push to another browser was accepted last, or the zero time.
func (a *acceptances) ofOthers(pusher events.PusherID) time.Time {
	if a[0].pusher != pusher {
		return a[0].at
	}
	return a[1].at
}

// acceptedBy records that the push service of a browser accepts our key.
func (gs *Gateways) acceptedBy(p *outgoing, now time.Time) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g := gs.byOrigin[p.pusher.Origin()]; g != nil {
		g.accepted.add(p.pusher.ID, now)
	}
}

// acceptedOfOthers returns when the push service of a browser accepted a push to another one last.
func (gs *Gateways) acceptedOfOthers(p *outgoing) time.Time {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g := gs.byOrigin[p.pusher.Origin()]; g != nil {
		return g.accepted.ofOthers(p.pusher.ID)
	}
	return time.Time{}
}
