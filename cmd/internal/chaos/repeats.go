package chaos

import (
	"slices"
	"strings"
	"time"

	"poked/events"
)

// Why a poke that a gateway took may come again (G2): nobody could know, or
// write down, that it was taken.
const (
	repeatUnheard = "no dispatcher heard the answer"
	repeatMoments = "its dispatcher died in the moments after the answer"
	repeatSibling = "its dispatcher died in the second after the answer, while another pusher of the user hung"
	repeatAway    = "its dispatcher could not reach nats after the answer"
	repeatNone    = "nobody knows why"
)

const (
	// moments is how long it takes to write down what was answered: the 10 ms
	// between two writes, and the two writes that it may take, each synced by two of
	// three servers. Where these are slower, so are the homeserver's (slowest).
	moments = 250 * time.Millisecond
	// siblingMoments is likewise while another pusher hangs, until that is written
	// down as lagging.
	siblingMoments = 1250*time.Millisecond + moments
	// awayMoments is how long after a fault of NATS or of a link to it a dispatcher
	// may still be away from it: it reconnects within 1.5 s, an election takes up
	// to 10; and how long after an answer it may come to know: requests take 5 s.
	awayMoments = 10 * time.Second
)

// repeats finds pokes that came again, and why they may have.
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
		return // whose it is not, it is a problem already
	}
	id := heardOf{events.NewPusherID(user.id, appID, key), taken.Event}
	who, known := c.logs.heardBetween(id, taken.Answered.Add(-moments), again.Arrived)
	why := repeatUnheard
	if known {
		why = c.why(taken, user, who)
	}
	c.report.Repeats[why]++
	if why == repeatNone {
		c.problem(&c.report.Unexplained, "%s was told of %s by dispatcher%d at %s with badge %d and again at %s with badge %d: %s",
			key, taken.Event, who.dispatcher, c.clock(taken.Answered), taken.Unread, c.clock(again.Arrived), again.Unread, c.around(taken.Answered))
	}
}

// why says why a poke may come again whose answer a dispatcher heard.
func (c *checker) why(taken *request, user *person, who heard) string {
	lived, died := c.livedOn(who)
	switch {
	case died && lived <= moments+2*c.slowest(who.at, who.at.Add(lived)):
		c.report.LatestMoment = max(c.report.LatestMoment, lived)
		return repeatMoments
	case c.logs.troubled(who.dispatcher, who.at.Add(-moments), who.at.Add(awayMoments)):
		return repeatAway
	case died && lived <= siblingMoments && c.siblingHung(taken, user):
		return repeatSibling
	case slices.ContainsFunc(c.Faults, func(f happened) bool { return f.parts(who) }):
		return repeatAway
	}
	return repeatNone
}

// slowest returns how long the slowest write of the homeserver took that was under
// way between two moments.
func (c *checker) slowest(from, to time.Time) (took time.Duration) {
	for _, a := range c.acks {
		if a.at.After(from) && a.at.Add(-a.took).Before(to) {
			took = max(took, a.took)
		}
	}
	return took
}

// livedOn returns for how long a dispatcher worked on after it heard an answer,
// if it was then killed or paused.
func (c *checker) livedOn(who heard) (d time.Duration, died bool) {
	for _, f := range c.Faults {
		deadly := f.Track == "dispatcher" && (f.Kind == faultKill || f.Kind == faultPause)
		// A dispatcher dies a little after the fault begins.
		if lived := f.From.Sub(who.at); deadly && slices.Contains(f.dispatchers, who.dispatcher) && lived > -moments && (!died || lived < d) {
			d, died = max(lived, 0), true
		}
	}
	return d, died
}

// parts says whether a fault kept NATS from a dispatcher that has just heard an
// answer.
func (f *happened) parts(who heard) bool {
	away := f.Track == "nats" || f.Track == "link" && slices.Contains(f.dispatchers, who.dispatcher)
	return away && during(f, who.at.Add(-awayMoments), who.at, moments)
}

// during says whether a fault overlaps with the time between two moments, give or
// take a margin.
func during(f *happened, from, to time.Time, margin time.Duration) bool {
	return f.From.Add(-margin).Before(to) && f.To.Add(margin).After(from)
}

// siblingHung says whether another pusher of the user was at another gateway that
// failed when a poke was taken.
func (c *checker) siblingHung(taken *request, user *person) bool {
	return slices.ContainsFunc(c.Faults, func(f happened) bool {
		return f.gateway >= 0 && f.gateway != taken.Gateway && slices.Contains(user.gateways, f.gateway) && during(&f, taken.Arrived, taken.Answered, siblingMoments)
	})
}

// around names the faults around a moment.
func (c *checker) around(t time.Time) string {
	var near []string
	for _, f := range c.Faults {
		if during(&f, t, t, awayMoments) {
			near = append(near, f.Kind+" "+strings.Join(f.Who, "+")+" "+c.clock(f.From)+" to "+c.clock(f.To))
		}
	}
	return strings.Join(near, ", ")
}
