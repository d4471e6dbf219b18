package deliver

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"poked/events/pushgateway"
	"poked/events/webpush"
)

// A gateway takes bodies up to some size: push services and UnifiedPush 4096 bytes, others what
// their web server allows. An operator can configure it (--payload-limit). If a gateway answers 413,
// the poke is sent again with less in it, in the steps of [pushgateway.Step], first within
// 4096 bytes and then within half of what was refused. What the gateway takes then is its limit for
// payloadFor, so that only the first large poke costs more than one request. After that a large
// one is sent whole again: the gateway may take more by now.
//
// Behind one gateway there may be many: one for UnifiedPush forwards each poke to the push server of
// the device. So a gateway that has taken a body as large as the refused one within payloadFor has
// no limit: the poke itself, or its pusher, was refused, and others get theirs whole.
//
// The 413 is not asked for: what a UnifiedPush gateway answers to GET tells no more than it, and
// the question would cost every gateway a request for each of these hours.

// payloadFor is how long the limit of a gateway is remembered.
const payloadFor = time.Hour

// noLimit is the payload limit of a gateway that has none.
const noLimit = math.MaxInt

// payload is what is known of how large a body a gateway takes. The mutex of the gateways guards
// it.
type payload struct {
	configured int // by the operator; 0 if not
	learned    int // after a 413
	learnedAt  time.Time
	taken      int // the largest body that was taken within payloadFor
	takenAt    time.Time
}

// limit returns how many bytes a body may have, or noLimit.
func (p *payload) limit(now time.Time) int {
	limit := noLimit
	if p.configured > 0 {
		limit = p.configured
	}
	if p.remembers(now) {
		limit = min(limit, p.learned)
	}
	return limit
}

// shown returns the limit as operators see it, 0 if there is none.
func (p *payload) shown(now time.Time) int {
	if limit := p.limit(now); limit != noLimit {
		return limit
	}
	return 0
}

// remembers reports whether a limit was learned from the gateway's answers, and holds.
func (p *payload) remembers(now time.Time) bool {
	return p.learned > 0 && now.Sub(p.learnedAt) < payloadFor
}

// took records that the gateway has taken a poke, perhaps after it has refused larger bodies of it.
func (p *payload) took(o *outgoing, now time.Time) {
	known := now.Sub(p.takenAt) < payloadFor
	if o.tooLarge > 0 && (!known || p.taken < o.tooLarge) {
		p.learned, p.learnedAt = max(o.limit, o.size), now
	}
	if !known || o.size >= p.taken {
		p.taken, p.takenAt = o.size, now
	}
}

// shorter returns the limit to try after a body of a size was refused with 413.
func shorter(size int) int {
	if size > webpush.MaxBody {
		return webpush.MaxBody
	}
	return size / 2
}

// smallestPayload is the smallest payload limit that an operator can configure: what a poke needs
// for its ids.
const smallestPayload = 1024

// PayloadLimits are the payload limits of gateways, by origin, in bytes.
type PayloadLimits map[string]int

// ParsePayloadLimits parses what an operator writes: GATEWAY=BYTES each, with the host of the gateway or
// its URL.
func ParsePayloadLimits(texts []string) (PayloadLimits, error) {
	limits := PayloadLimits{}
	for _, text := range texts {
		at := strings.LastIndexByte(text, '=')
		if at < 0 {
			return nil, fmt.Errorf("%q is not GATEWAY=BYTES", text)
		}
		raw := strings.TrimSpace(text[:at])
		if !strings.Contains(raw, "://") {
			raw = "https://" + raw
		}
		origin, err := pushgateway.ParseOrigin(raw)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		limit, err := strconv.Atoi(strings.TrimSpace(text[at+1:]))
		if err != nil || limit < smallestPayload {
			return nil, fmt.Errorf("%q: %w", text, errSmallPayload)
		}
		limits[origin] = limit
	}
	return limits, nil
}

var errSmallPayload = errors.New("a payload limit is a number of bytes, at least " + strconv.Itoa(smallestPayload))

// LimitPayloads configures how large the bodies for some gateways may be. Call it before anything is
// sent.
func (gs *Gateways) LimitPayloads(limits PayloadLimits) { gs.payloads = limits }

// appendShort appends the body of a poke, with as much in it as its limit allows. Only if
// its ids alone are longer, idsOnly, the body may be longer than that.
func (p *outgoing) appendShort(dst []byte, of BadgeOf) (body []byte, idsOnly bool) {
	notification, unread, device := p.content(of)
	if p.pusher.EventOnly {
		return p.appendIDs(dst, notification, unread, &device), true
	}
	body = pushgateway.AppendBody(dst, notification, unread, &device)
	if device.RoomAvatar != "" && p.sizeOf(body) > p.limit { // the text matters more
		device.RoomAvatar = ""
		body = pushgateway.AppendBody(dst, notification, unread, &device)
	}
	over := p.sizeOf(body) - p.limit
	if over <= 0 {
		return body, false
	}
	for step := pushgateway.StepNoFormattedBody; step < pushgateway.StepEventIDOnly; step++ {
		body = pushgateway.AppendBody(dst, pushgateway.Shorten(notification, step, over), unread, &device)
		if p.sizeOf(body) <= p.limit {
			return body, false
		}
	}
	return p.appendIDs(dst, notification, unread, &device), true
}

// appendIDs appends the body of a poke with nothing but ids in it. A browser gets its pusher's data,
// and then the id of its user, only if there is room for it; a gateway may not deliver without.
func (p *outgoing) appendIDs(dst, notification []byte, unread int, device *pushgateway.Device) []byte {
	body := pushgateway.AppendEventIDOnlyBody(dst, notification, unread, device)
	if p.pusher.Web != nil && p.sizeOf(body) > p.limit {
		device.Data = nil
		body = pushgateway.AppendEventIDOnlyBody(dst, notification, unread, device)
	}
	if p.pusher.Web != nil && p.sizeOf(body) > p.limit {
		device.User = ""
		body = pushgateway.AppendEventIDOnlyBody(dst, notification, unread, device)
	}
	return body
}

// sizeOf returns how many bytes the request has in which a body is sent: a browser's has the message
// in it alone, encrypted.
func (p *outgoing) sizeOf(body []byte) int {
	if p.pusher.Web != nil {
		return len(messageIn(body)) + webpush.Overhead
	}
	return len(body)
}
