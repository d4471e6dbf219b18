package dispatcher

import (
	"slices"
	"time"

	"poked/events"
)

const (
	// earlyLimit is how many words a partition keeps about events that have not
	// come yet; the oldest is given up for one more.
	earlyLimit = 256
	// earlyFor is how long one is kept.
	earlyFor = 10 * time.Minute
)

// early keeps what was said of events that have not come yet: a receipt or a
// redaction may overtake its event on the way between two homeservers. Its message
// stays open until the event comes, so that a successor hears of it too. The
// goroutine that follows the partition owns it.
type early struct {
	words []*earlyWord // oldest first
}

// earlyWord is a receipt or a redaction whose event has not come yet.
type earlyWord struct {
	f         *fanout // of the message that says it
	room      events.RoomID
	event     events.EventID
	receipt   events.Receipt
	redaction bool
	since     time.Time
}

// add has a word wait for its event.
func (e *early) add(w *earlyWord) {
	w.since = time.Now()
	w.f.hold()
	e.words = append(e.words, w)
	if len(e.words) > earlyLimit {
		e.giveUp(1)
	}
}

// take returns what was said of an event that has come.
func (e *early) take(room events.RoomID, event events.EventID) (words []*earlyWord) {
	for _, w := range e.words {
		if w.event == event && w.room == room {
			words = append(words, w)
		}
	}
	if len(words) > 0 {
		e.words = slices.DeleteFunc(e.words, func(w *earlyWord) bool { return slices.Contains(words, w) })
	}
	return words
}

// expire gives up what has waited too long.
func (e *early) expire(now time.Time) {
	n := 0
	for n < len(e.words) && now.Sub(e.words[n].since) >= earlyFor {
		n++
	}
	e.giveUp(n)
}

func (e *early) giveUp(n int) {
	for _, w := range e.words[:n] {
		w.f.answered(nil)
	}
	e.words = slices.Delete(e.words, 0, n)
}

// messages returns how many messages are open because of what waits.
func (e *early) messages() int {
	open := map[*fanout]struct{}{}
	for _, w := range e.words {
		open[w.f] = struct{}{}
	}
	return len(open)
}

// without leaves out who is not to hear of an event because of what was said
// before it came.
func without(notified []decision, words []*earlyWord, thread events.EventID) []decision {
	if len(words) == 0 {
		return notified
	}
	return slices.DeleteFunc(notified, func(d decision) bool {
		return slices.ContainsFunc(words, func(w *earlyWord) bool {
			return w.redaction || w.receipt.User == d.member.id && (w.receipt.Whole || w.receipt.Thread == thread)
		})
	})
}
