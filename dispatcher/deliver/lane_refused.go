package deliver

import (
	"cmp"
	"context"
	"math/bits"
	"slices"
	"time"

	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/wait"
)

// A gateway may refuse a poke because of what is in it, because of its pusher, or because it
// fails for all. Only in the first case the lane need not wait: the poke becomes a dead
// letter, and the lane goes on (G13). One of two things must prove it:
//
//   - The gateway takes a later notification of the lane, moments after it has refused the
//     one before (lookPast). If it refuses that one in the same way, it refuses the pusher,
//     or it fails for all.
//   - The lane has nothing else to send, and between any two of its tries the gateway has
//     taken pokes of the same app. This may put aside the poke of a pusher that is refused
//     whatever is in it, so the lane does it once until something is delivered again.
//
// Neither counts before the poke was refused a few times in the same way, so that a gateway
// that answers with errors for a minute loses nothing. One gap is left: a gateway that fails
// for all, and works again between two requests of one try.
const (
	slowTries  = 3 // of a poke refused with 4xx: within 3 minutes
	retryTries = 8 // of one refused with 5xx: within 130 s
	// Once a lane has looked past a refusal, it tries the next one that is refused in the
	// same way less often, within seconds: there may be many, such as those of one room.
	slowTriesAgain  = 2
	retryTriesAgain = 4

	// farLook bounds the refusals in a row that a lane looks past if the gateway has not
	// taken other pokes of the app recently. If it has, only what was read from the log does.
	farLook  = 4
	recently = 5 * time.Minute
)

// enoughTries returns how often a poke must be refused before it may be put aside.
func (l *lane) enoughTries(out poke.Outcome) int {
	again := l.refusal == out.Failure()
	switch {
	case out.Kind == poke.Slow && again:
		return slowTriesAgain
	case out.Kind == poke.Slow:
		return slowTries
	case again:
		return retryTriesAgain
	}
	return retryTries
}

// tried returns how often the next poke of a lagging lane was refused in the same way, with
// a refusal that arrives now.
func (g *lag) tried(out poke.Outcome) int {
	if g.failure != out.Failure() {
		return 1
	}
	return g.attempts + 1
}

// looked is how far a lane has looked past a refused poke, and has proved nothing.
type looked uint8

const (
	lookedNot looked = iota
	lookedAll        // at all that there is: what comes next may prove something
	lookedFar        // as far as it may
)

// looks returns how many refusals in a row the lane may look past in this try. It looks far only
// if something has come since it did so in vain, and in the end after twice as many tries each
// time: a pusher that is always refused costs its gateway little.
func (l *lane) looks(p *outgoing, out poke.Outcome) int {
	tried, enough := l.lag.tried(out), l.enoughTries(out)
	switch {
	case p.badge || tried < enough:
		return 0
	case l.refusal == out.Failure():
		return readingLimit
	case l.lag.looked != lookedNot && (tried%enough != 0 || bits.OnesCount(uint(tried/enough)) != 1):
		return 1 - (tried-enough)%2
	case time.Since(p.took) < recently || l.othersTaken(p):
		return readingLimit
	}
	return farLook
}

// lookPast tries the notifications after a refused one, in its place at the gateway, until
// the gateway takes one or does not refuse it in the same way. If it takes one, p becomes
// that one, and p.past the refused ones before it.
func (d *Deliverer) lookPast(s *sender, l *lane, p *outgoing, out poke.Outcome) poke.Outcome {
	if !out.Refuses() || p.ahead {
		return out
	}
	p.took = d.Gates.tookOf(l, appOf(p.pusher))
	first, refusal, past := *p, out, []outgoing(nil)
	for out.Refuses() && out.Failure() == refusal.Failure() {
		next, ok := l.following(p, out)
		if !ok {
			break
		}
		d.logAttempt(p, out, 0)
		p.failure = out.Failure()
		past = append(past, *p)
		next.past, next.took = past, p.took
		*p = next
		out = d.try(s, l, p, time.Now())
	}
	if out.Works() {
		return out
	}
	if len(p.past) > 0 {
		l.lookedInVain(len(p.past), p.seq)
	}
	for range p.past {
		d.Counts.outcome(refusal, false, 0)
	}
	*p = first
	return out
}

// lookedInVain records that the lane looked past n refusals, up to a notification, and has proved
// nothing.
func (l *lane) lookedInVain(n int, upTo uint64) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.refusal != (poke.Failure{}) && n < farLook {
		return // these may all be refused like the one before
	}
	l.refusal = poke.Failure{}
	switch g := l.lag; {
	case g == nil:
	case n >= farLook:
		g.looked = lookedFar
	case l.after(upTo) < 0 && g.target == g.readFor && g.looked == lookedNot:
		g.looked = lookedAll
	}
}

// refusedAlone prepares a lane that was refused for what comes after the poke, if nothing does
// yet: that is tried at once, as it may prove that the poke is refused for its content.
func (l *lane) refusedAlone(now time.Time, out poke.Outcome) {
	g := l.lag
	if g.wakes = false; !out.Refuses() {
		return
	}
	enough := l.enoughTries(out)
	switch {
	case g.attempts < enough && l.refusal == out.Failure():
		g.nextTry = now.Add(poke.ScheduleOf(poke.Retry).Wait(g.attempts)) // likely so
	case g.attempts < enough || g.looked == lookedFar:
	case g.target > g.readFor: // it came during this try
		g.nextTry = now
	default:
		g.wakes = true
	}
}

// following returns the poke with which the lane looks past a refused one. It returns false
// if the lane may not look, or nothing else was read from the log.
func (l *lane) following(p *outgoing, out poke.Outcome) (next outgoing, ok bool) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.lag == nil || l.gone || l.d.closing || l.pusher != p.pusher || !l.d.Gates.lease.Held() {
		return next, false
	}
	if i := l.after(p.seq); i > 0 && len(p.past) < l.looks(p, out) {
		return l.lagging(i), true
	}
	return next, false
}

// after returns the index of the item that the lane sends after one that it has read, or -1.
func (l *lane) after(seq uint64) int {
	items := l.lag.items
	i, found := slices.BinarySearchFunc(items, seq, func(it logItem, seq uint64) int { return cmp.Compare(it.seq, seq) })
	for i++; found && i < len(items); i++ {
		it := &items[i]
		if l.pusher.Wants(&it.n) && !l.lag.calls.wasDelivered(it.seq) && l.d.withholds(l.pusher, &it.n, it.room, time.Now()) == poke.ClassOK {
			return i
		}
	}
	return -1
}

// othersTaken reports whether the gateway has taken a poke of the app since the last failure
// of the lane, which is known to the second.
func (l *lane) othersTaken(p *outgoing) bool {
	return p.took.After(second(l.history.failedAt).Add(time.Second))
}

// verdict decides whether a refused poke is put aside by itself. A badge that is refused is:
// the next poke carries the count as well.
func (l *lane) verdict(p *outgoing, out poke.Outcome) poke.Outcome {
	if out.Class == poke.ClassVAPID {
		return l.verdictOfVAPID(p, out)
	}
	if !out.Refuses() || p.ahead {
		return out
	}
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	g := l.lag
	if g == nil || l.gone || l.pusher != p.pusher {
		return out
	}
	if l.othersTaken(p) {
		g.contrast = min(g.contrast, retryTries) + 1
	}
	enough := l.enoughTries(out)
	alone := int(g.contrast)+1 >= enough
	if g.tried(out) >= enough && (p.badge || alone && !l.setAside && l.after(p.seq) < 0) {
		out.Kind = poke.Refused
	}
	return out
}

// buryPast stores what the lane has looked past as dead letters. It tries until that is done,
// or the work on the partition ends: what the gateway took meanwhile is not sent again while
// this worker can help it.
func (d *Deliverer) buryPast(p *outgoing) (err error) {
	for i := range p.past {
		past := &p.past[i]
		err = d.storeDead(past, events.DeadRefused, past.attempt, past.failure)
		for err != nil && !d.isClosing() {
			_ = wait.For(context.Background(), wait.RetryPause)
			err = d.storeDead(past, events.DeadRefused, past.attempt, past.failure)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
