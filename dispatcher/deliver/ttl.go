package deliver

import (
	"fmt"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"poked/dispatcher/directory"
	"poked/events"
)

// A poke that was not delivered within its time to live becomes a dead letter. That is the shortest of
// what the operator allows all pokes (--poke-ttl) and those about an event of its type
// (--event-ttl), and what its pusher asks for ("poked.ttl" in its data). A push service of browsers
// gets what is left of it, and keeps the push no longer for a browser that is away.

// EventTTLs are the times to live of pokes, by the type of their event.
type EventTTLs map[string]time.Duration

// ParseEventTTLs parses what an operator writes: TYPE=DURATION each.
func ParseEventTTLs(texts []string) (EventTTLs, error) {
	ttls := EventTTLs{}
	for _, text := range texts {
		kind, raw, found := strings.Cut(strings.TrimSpace(text), "=")
		ttl, err := time.ParseDuration(raw)
		if !found || kind == "" || err != nil || ttl < time.Second {
			return nil, fmt.Errorf("%q is not TYPE=DURATION, with the type of an event and at least 1s", text)
		}
		ttls[kind] = ttl
	}
	return ttls, nil
}

// timeToLive returns how old a poke about a notification may become before it is delivered.
func (d *Deliverer) timeToLive(p *directory.Pusher, n *events.Notification) time.Duration {
	ttl := d.PokeTTL
	if p.TTL > 0 {
		ttl = min(ttl, p.TTL)
	}
	if len(d.EventTTL) > 0 {
		if own, ok := d.EventTTL[gjson.GetBytes(n.Body, "type").Str]; ok {
			ttl = min(ttl, own)
		}
	}
	return ttl
}
