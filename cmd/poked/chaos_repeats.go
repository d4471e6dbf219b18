package main

import (
	"slices"
	"strings"
	"time"
)

// Why a poke that a gateway took may come again (G2): nobody could know, or
// write down, that it was taken.
const (
	repeatUnanswered = "its sender was gone when it was answered"
	repeatLink       = "its connection was cut or stalled while it was out"
	repeatOut        = "it was out when its dispatcher died or stood still"
	repeatMoments    = "its answer came in the last moments before that"
	repeatSibling    = "another pusher of the user was hanging in the second before that"
	repeatAway       = "nats was away, or away from a dispatcher"
	repeatNone       = "nobody knows why"
)

const (
	// moments is how long it takes to write down what was answered: the 10 ms
	// between two writes, and the two writes that may lie before it, each synced
	// by two of three servers of a busy machine.
	moments = 250 * time.Millisecond
	// siblingMoments is likewise while another pusher hangs.
	siblingMoments = time.Second + moments
	// cutMoments is how much earlier or later than a fault of a link its effect
	// may show.
	cutMoments = 100 * time.Millisecond
	// awayMoments is how long after a fault of NATS or of a link to it a
	// dispatcher may still be away from it: it reconnects within 1.5 s, an
	// election takes up to 10.
	awayMoments = 10 * time.Second
)

// repeats finds pokes that came again, and why they may have.
func (c *chaosChecker) repeats() {
	for key, pokes := range c.byKey {
		before := map[told]*chaosPoke{}
		for _, p := range pokes {
			if p.Event == "" {
				continue
			}
			id := told{key, p.Event}
			if taken := before[id]; taken != nil {
				c.repeated(taken, p)
			}
			before[id] = p
		}
	}
}

func (c *chaosChecker) repeated(taken, again *chaosPoke) {
	why, late := c.why(taken)
	c.report.Repeats[why]++
	if why == repeatMoments {
		c.report.LatestMoment = max(c.report.LatestMoment, late)
	}
	if why == repeatNone {
		c.problem(&c.report.Unexplained, "%s was told of %s at %s with badge %d and again at %s with badge %d: %s",
			taken.Pushkey, taken.Event, c.clock(taken.Answered), taken.Unread, c.clock(again.Arrived), again.Unread, c.around(taken.Answered))
	}
}

// why says why a poke that was taken may come again, and how long before a death
// it was answered.
func (c *chaosChecker) why(taken *chaosPoke) (reason string, late time.Duration) {
	if taken.Gone {
		return repeatUnanswered, 0
	}
	best := len(reasons())
	for n := range c.Faults {
		reason, before := c.because(&c.Faults[n], taken)
		if at := slices.Index(reasons(), reason); at >= 0 && at < best {
			best, late = at, before
		}
	}
	if best == len(reasons()) {
		return repeatNone, 0
	}
	return reasons()[best], late
}

// reasons are those that a fault may give, the best first.
func reasons() []string {
	return []string{repeatLink, repeatOut, repeatMoments, repeatSibling, repeatAway}
}

// because says what reason a fault gives for a poke to come again, or "".
func (c *chaosChecker) because(f *happened, taken *chaosPoke) (reason string, before time.Duration) {
	before = f.From.Sub(taken.Answered)
	deadly := f.Track == "dispatcher" && (f.Kind == faultKill || f.Kind == faultPause)
	switch {
	case f.gateway == taken.Gateway && (f.Kind == faultCut || f.Kind == faultStall) &&
		during(f, taken.Arrived, taken.Answered, cutMoments):
		return repeatLink, 0
	case deadly && before <= 0 && (!taken.Arrived.After(f.From) || f.Kind == faultPause && during(f, taken.Arrived, taken.Answered, moments)):
		return repeatOut, 0
	case deadly && before > 0 && before <= moments:
		return repeatMoments, before
	case deadly && before > 0 && before <= siblingMoments && c.siblingHung(taken):
		return repeatSibling, before
	case (f.Track == "nats" || f.Track == "link" && f.dispatchers != nil) && during(f, taken.Answered.Add(-awayMoments), taken.Answered, moments):
		return repeatAway, 0
	}
	return "", 0
}

// during says whether a fault overlaps with the time between two moments, give or
// take a margin.
func during(f *happened, from, to time.Time, margin time.Duration) bool {
	return f.From.Add(-margin).Before(to) && f.To.Add(margin).After(from)
}

// siblingHung says whether another pusher of the user was at a gateway that failed
// when a poke was taken.
func (c *chaosChecker) siblingHung(taken *chaosPoke) bool {
	user := c.owners[taken.Pushkey]
	return user != nil && slices.ContainsFunc(c.Faults, func(f happened) bool {
		return f.gateway >= 0 && slices.Contains(user.gateways, f.gateway) && during(&f, taken.Arrived, taken.Answered, siblingMoments)
	})
}

// around names the faults around a moment.
func (c *chaosChecker) around(t time.Time) string {
	var near []string
	for _, f := range c.Faults {
		if during(&f, t, t, awayMoments) {
			near = append(near, f.Kind+" "+strings.Join(f.Who, "+")+" "+c.clock(f.From)+" to "+c.clock(f.To))
		}
	}
	return strings.Join(near, ", ")
}
