package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

// recoveryFailures is the number of failures in a row, of any lanes, after which a gateway
// counts as down.
const recoveryFailures = 3

// The time between two probes of a gateway that is down: see breaker.wait. The limits leave
// room for a tick within 30 s and 5 min.
const (
	probeFirst     = time.Second
	ProbeLimit     = 29 * time.Second
	probeLimitLong = 5*time.Minute - time.Second
	probeFor       = 24 * time.Hour // since the gateway last worked, before the long limit applies
	// probesToLimit is the number of probes after which the waits have reached ProbeLimit.
	probesToLimit = 5
	// steadyAfter is how long a gateway must work again before the waits begin anew: an
	// unstable one is not probed more and more often.
	steadyAfter = time.Minute
)

// breaker is the circuit breaker of a gateway. It opens when recoveryFailures pokes in a row
// have failed in a way that may be over in a moment, or when the gateway hangs; then only one
// probe at a time is sent, and one that is late is followed by the next. The first success
// of any lane closes it.
//
// Some lanes fail by themselves while the gateway works. Such a lane begins no row of
// failures at a gateway that has answered others. And the failures that opened the breaker
// may all be of such lanes: until recoveryFailures probes of other lanes have failed, the
// next lane that has not failed yet is sent as a probe at once.
type breaker struct {
	open     bool
	answered bool // it has worked at least once
	failures int  // in a row

	probe     *lane // in flight, unless it is late
	probes    int   // failed probes, and times opened, since the gateway was steady
	unfailed  int   // failed probes since it opened, of lanes that had not failed before
	nextProbe time.Time
	hurried   bool // the next probe is sent early, since another gateway works again
	mayHurry  bool // the last probe was not, so the next one may be

	wellAt   time.Time // when the gateway last worked, or was first used
	openedAt time.Time
	closedAt time.Time
}

// worked records a success, and reports whether it closes the breaker.
func (b *breaker) worked(now time.Time) (recovered bool) {
	recovered = b.open
	if recovered {
		b.closedAt = now
	} else if now.Sub(b.closedAt) >= steadyAfter {
		b.probes = 0
	}
	b.open, b.answered, b.probe, b.failures, b.wellAt = false, true, nil, 0, now
	b.hurried = false
	return recovered
}

// failed records a failure that was not a probe's, and reports whether it opens the breaker.
// known reports that the lane has failed by itself before.
func (b *breaker) failed(known bool, now time.Time) (opened bool) {
	if known && b.answered && b.failures == 0 {
		return false
	}
	b.failures++
	if b.open || b.failures < recoveryFailures {
		return false
	}
	b.open, b.openedAt, b.unfailed, b.mayHurry = true, now, 0, true
	b.putOff(now)
	return true
}

// hung opens the breaker: everything in flight is late. What hangs keeps its place for long,
// so the probes of lanes that have failed begin at the longest wait.
func (b *breaker) hung(now time.Time) {
	b.open, b.openedAt, b.unfailed, b.mayHurry = true, now, 0, true
	b.probes = max(b.probes, probesToLimit)
	b.putOff(now)
}

// probeFailed records that a probe failed, or is late.
func (b *breaker) probeFailed(l *lane, now time.Time) {
	b.probe = nil
	b.failures++
	if l.node.unfailed {
		b.unfailed++
	}
	probes := b.probes
	b.putOff(now)
	if b.hurried {
		b.probes = probes // it was beside the schedule
	}
	b.mayHurry, b.hurried = !b.hurried, false
}

// probeSoon moves the next probe forward.
func (b *breaker) probeSoon(now time.Time) {
	if at := now.Add(poke.Spread(probeFirst)); b.probe == nil && at.Before(b.nextProbe) {
		b.nextProbe, b.hurried = at, true
	}
}

// worthAProbe reports whether the lane is to be sent as a probe at once.
func (b *breaker) worthAProbe(l *lane) bool {
	return b.open && l.node.unfailed && b.unfailed < recoveryFailures
}

func (b *breaker) putOff(now time.Time) {
	b.nextProbe = now.Add(b.wait(now))
	b.probes++
}

// wait returns the time until the next probe: half of a ceiling and a random part of the
// other half. The ceilings are 1 s, 2 s, 4 s … and then 29 s, or 5 min for a gateway that
// has not worked for a day.
func (b *breaker) wait(now time.Time) time.Duration {
	s := poke.Schedule{First: probeFirst, Limit: ProbeLimit}
	if now.Sub(b.wellAt) >= probeFor {
		s.Limit = probeLimitLong
	}
	half := s.Ceiling(b.probes+1) / 2
	return half + poke.Spread(half)
}

// probeDue reports whether it is time for a probe.
func (b *breaker) probeDue(now time.Time) bool {
	return b.open && b.probe == nil && !now.Before(b.nextProbe)
}
