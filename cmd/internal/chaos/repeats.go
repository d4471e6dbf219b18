package chaos

import (
	"slices"
	"strings"
	"time"

	"poked/events"
)

// Reasons why a poke may be repeated although a gateway accepted it (G2): the outcome was
// unknown, or could not be stored.
const (
	repeatUnanswered = "no dispatcher received the answer"
	repeatKilled     = "its dispatcher died right after the answer"
	repeatSibling    = "its dispatcher died within a second of the answer, while another pusher of the user hung"
	repeatAway       = "its dispatcher could not reach nats after the answer"
	repeatNone       = "unknown"
)

const (
	// storeTime is how long it takes to store an outcome: the 10 ms between two writes, and
	// up to two writes, each synced by two of three servers. If those are slower, so are
	// the homeserver's writes (slowest).
	storeTime = 250 * time.Millisecond
	// siblingStoreTime is the same while another pusher hangs, until that one is stored as
	// lagging.
	siblingStoreTime = 1250*time.Millisecond + storeTime
	// awayTime is how long after a fault of NATS, or of a link to it, a dispatcher may
	// be unable to use it: it reconnects within 1.5 s, an election takes up to 10 s. It is
	// also how long after an answer it may notice: requests time out after 5 s.
	awayTime = 10 * time.Second
)

// repeats finds repeated pokes and their reasons.
func (c *checker) repeats() {
	for key, pokes := range c.byKey {
		before := map[events.EventID]*request{}
		for _, p := range pokes {
			if p.Event == "" {
				continue
			}
			if taken := before[p.Event]; taken != nil {
				c.repeated(key, taken, p)
			}
			before[p.Event] = p
		}
	}
}

func (c *checker) repeated(key string, taken, again *request) {
	user := c.owners[key]
	if user == nil {
		return // already reported as delivered without cause
	}
	id := loggedPoke{events.NewPusherID(user.id, appID, key), taken.Event}
	by, known := c.logs.deliveredBetween(id, taken.Answered.Add(-storeTime), again.Arrived)
	why := repeatUnanswered
	if known {
		why = c.why(taken, user, by)
	}
	c.report.Repeats[why]++
	if why == repeatNone {
		c.problem(&c.report.Unexplained, "%s got %s from dispatcher%d at %s with badge %d and again at %s with badge %d: %s",
			key, taken.Event, by.dispatcher, c.clock(taken.Answered), taken.Unread, c.clock(again.Arrived), again.Unread, c.around(taken.Answered))
	}
}

// why returns the reason why a poke was repeated although a dispatcher received its answer.
func (c *checker) why(taken *request, user *person, by delivered) string {
	lived, died := c.ranOn(by)
	switch {
	case died && lived <= storeTime+2*c.slowest(by.at, by.at.Add(lived)):
		c.report.LatestMoment = max(c.report.LatestMoment, lived)
		return repeatKilled
	case c.logs.troubled(by.dispatcher, by.at.Add(-storeTime), by.at.Add(awayTime)):
		return repeatAway
	case died && lived <= siblingStoreTime && c.siblingHung(taken, user):
		return repeatSibling
	case slices.ContainsFunc(c.Faults, func(f injected) bool { return f.separates(by) }):
		return repeatAway
	}
	return repeatNone
}

// slowest returns the duration of the homeserver's slowest write in progress between two
// times.
func (c *checker) slowest(from, to time.Time) (took time.Duration) {
	for _, a := range c.acks {
		if a.at.After(from) && a.at.Add(-a.took).Before(to) {
			took = max(took, a.took)
		}
	}
	return took
}

// ranOn returns how long a dispatcher continued to run after it received an answer, if it
// was killed or paused then.
func (c *checker) ranOn(by delivered) (d time.Duration, died bool) {
	for _, f := range c.Faults {
		deadly := f.Track == "dispatcher" && (f.Kind == faultKill || f.Kind == faultPause)
		// A dispatcher dies a little after the fault begins.
		if lived := f.From.Sub(by.at); deadly && slices.Contains(f.dispatchers, by.dispatcher) && lived > -storeTime && (!died || lived < d) {
			d, died = max(lived, 0), true
		}
	}
	return d, died
}

// separates reports whether a fault separated a dispatcher from NATS after it received an
// answer.
func (f *injected) separates(by delivered) bool {
	away := f.Track == "nats" || f.Track == "link" && slices.Contains(f.dispatchers, by.dispatcher)
	return away && during(f, by.at.Add(-awayTime), by.at, storeTime)
}

// during reports whether a fault overlaps with the time between from and to, extended by a
// margin on both sides.
func during(f *injected, from, to time.Time, margin time.Duration) bool {
	return f.From.Add(-margin).Before(to) && f.To.Add(margin).After(from)
}

// siblingHung reports whether another pusher of the user was at a gateway that failed when
// the poke was accepted.
func (c *checker) siblingHung(taken *request, user *person) bool {
	return slices.ContainsFunc(c.Faults, func(f injected) bool {
		return f.gateway >= 0 && f.gateway != taken.Gateway && slices.Contains(user.gateways, f.gateway) && during(&f, taken.Arrived, taken.Answered, siblingStoreTime)
	})
}

// around describes the faults around a time.
func (c *checker) around(t time.Time) string {
	var near []string
	for _, f := range c.Faults {
		if during(&f, t, t, awayTime) {
			near = append(near, f.Kind+" "+strings.Join(f.Who, "+")+" "+c.clock(f.From)+" to "+c.clock(f.To))
		}
	}
	return strings.Join(near, ", ")
}
