package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

// recoveryFailures is after how many failures in a row, whosever pokes they
// were, a gateway counts as down.
const recoveryFailures = 3

// How long a gateway that is down is left alone between two probes: see
// breaker.wait. The limits leave room for a tick within 30 s and 5 min.
const (
	probeFirst     = time.Second
	ProbeLimit     = 29 * time.Second
	probeLimitLong = 5*time.Minute - time.Second
	probeFor       = 24 * time.Hour // since the gateway worked, until the long limit holds
	// steadyAfter is how long a gateway has to be well again until the waits
	// begin anew: one that comes and goes is not asked more and more often.
	steadyAfter = time.Minute
)

// breaker says whether a gateway is down. It opens when recoveryFailures pokes
// in a row failed in a way that may be over in a moment; then nothing is sent
// but one probe at a time. The first success closes it, whosever it is.
//
// A failure says something of the gateway only if it may be news. A lane that
// has failed by itself begins no row at a gateway that has answered others. And
// those whose failures opened the breaker may be the only ones who have any:
// until recoveryFailures others have been the probe in vain, the next one who
// has not failed yet is the probe at once.
type breaker struct {
	open     bool
	answered bool // it has worked since it was first heard of
	failures int  // in a row

	probe     *lane // the one that is out, unless it has been out for too long
	probes    int   // failed, and times opened, since the gateway was steady
	unfailed  int   // probes that failed since it opened of lanes that had not before
	nextProbe time.Time

	wellAt   time.Time // when the gateway last worked, or was first heard of
	closedAt time.Time
}

// worked takes in a success, and says whether that ends a time of being down.
func (b *breaker) worked(now time.Time) (recovered bool) {
	recovered = b.open
	if recovered {
		b.closedAt = now
	} else if now.Sub(b.closedAt) >= steadyAfter {
		b.probes = 0
	}
	b.open, b.answered, b.probe, b.failures, b.wellAt = false, true, nil, 0, now
	return recovered
}

// failed takes in a failure that was no probe's, and says whether that opens the
// breaker. Known is a lane that failed before by itself.
func (b *breaker) failed(known bool, now time.Time) (opened bool) {
	if known && b.answered && b.failures == 0 {
		return false
	}
	b.failures++
	if b.open || b.failures < recoveryFailures {
		return false
	}
	b.open, b.unfailed = true, 0
	b.putOff(now)
	return true
}

// probeFailed takes in that a probe found the gateway down, or heard nothing
// for too long.
func (b *breaker) probeFailed(l *lane, now time.Time) {
	b.probe = nil
	b.failures++
	if l.node.unfailed {
		b.unfailed++
	}
	b.putOff(now)
}

// worthAProbe says whether a lane is to find out at once how the gateway is.
func (b *breaker) worthAProbe(l *lane) bool {
	return b.open && l.node.unfailed && b.unfailed < recoveryFailures
}

func (b *breaker) putOff(now time.Time) {
	b.nextProbe = now.Add(b.wait(now))
	b.probes++
}

// wait returns how long the gateway is left alone: half of a ceiling and a
// random part of the other half. The ceilings are 1 s, 2 s, 4 s … and then 29 s,
// or 5 min for a gateway that has not worked for a day.
func (b *breaker) wait(now time.Time) time.Duration {
	s := poke.Schedule{First: probeFirst, Limit: ProbeLimit}
	if now.Sub(b.wellAt) >= probeFor {
		s.Limit = probeLimitLong
	}
	half := s.Ceiling(b.probes+1) / 2
	return half + poke.Spread(half)
}

// probeDue says whether it is time for a probe.
func (b *breaker) probeDue(now time.Time) bool {
	return b.open && b.probe == nil && !now.Before(b.nextProbe)
}
