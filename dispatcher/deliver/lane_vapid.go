package deliver

import (
	"net/http"
	"time"

	"poked/dispatcher/poke"
)

// A push service that answers 401 or 403 does not accept our key (RFC 8292). Either this browser
// subscribed with another one, and never gets anything, or the fault is ours or the push
// service's, and nobody there gets anything. Its other browsers tell which: if it accepts them
// between any two of a few tries of this one, minutes apart, the browser is at fault and its
// pusher is removed, as MSC4174 wants it. If it accepts none, nothing is removed; the failures
// count for the circuit breaker, and the class vapid_refused for the operator's alert.

// vapidTries is how often a push service must refuse a browser, and accept others in between,
// before its pusher is removed: within three minutes at least, most often.
const vapidTries = 3

// judgeVAPID records that the push service accepts our key. If it does not, it decides whether that
// is the browser's fault, as far as is known, so that it counts against the gateway or not.
func (d *Deliverer) judgeVAPID(p *outgoing, out poke.Outcome, now time.Time) poke.Outcome {
	switch {
	case out.Kind == poke.Delivered:
		d.Gates.acceptedBy(p, now)
	case out.Class == poke.ClassVAPID && now.Sub(d.Gates.acceptedOfOthers(p)) < time.Minute:
		out.Kind = poke.Slow
	}
	return out
}

// verdictOfVAPID decides whether a pusher whose key is refused is removed.
func (l *lane) verdictOfVAPID(p *outgoing, out poke.Outcome) poke.Outcome {
	accepted := l.d.Gates.acceptedOfOthers(p)
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	g := l.lag
	if g == nil || l.gone || l.pusher != p.pusher {
		return out
	}
	if g.failure.Class != poke.ClassVAPID {
		g.contrast = 0
	} else if accepted.After(second(l.history.failedAt).Add(time.Second)) {
		g.contrast = min(g.contrast, vapidTries) + 1
		out.Kind = poke.Slow
	}
	if out.Status == http.StatusForbidden && int(g.contrast)+1 >= vapidTries {
		out.Kind, out.Class = poke.Rejected, poke.ClassRejected
	}
	return out
}
