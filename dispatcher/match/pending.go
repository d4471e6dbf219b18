package match

import (
	"slices"
	"time"

	"poked/events"
)

const (
	// pendingLimit is how many words a partition keeps about events that have not
	// come yet. For one more, the oldest is given up of the room that has most: any
	// member may name events that will never come.
	pendingLimit = 256
	// pendingFor is how long one is kept.
	pendingFor = 10 * time.Minute
)

// pending keeps what was said of events that have not come yet: a receipt or a
// redaction may overtake its event on the way between two homeservers. Its message
// stays open until the event comes, so that a successor hears of it too. The
// goroutine that follows the partition owns it.
type pending struct {
	words []*pendingWord // oldest first
}

// pendingWord is a receipt or a redaction whose event has not come yet.
type pendingWord struct {
	f         *fanout // of the message that says it
	room      events.RoomID
	event     events.EventID
	receipt   events.Receipt
	redaction bool
	since     time.Time
	claimed   bool // its event has come
	settled   bool // guarded by the mutex of f
}

// add has a word wait for its event.
func (e *pending) add(w *pendingWord) {
	w.since = time.Now()
	w.f.mu.Lock()
	w.f.words++
	w.f.mu.Unlock()
	e.forget()
	e.words = append(e.words, w)
	if len(e.words) > pendingLimit {
		e.giveUpOne()
	}
}

// giveUpOne gives up a word whose event has not come: the one that was added last, at
// least, is such a word.
func (e *pending) giveUpOne() {
	of := map[events.RoomID][]*pendingWord{}
	most := 0
	for _, w := range e.words {
		if !w.claimed {
			of[w.room] = append(of[w.room], w)
			most = max(most, len(of[w.room]))
		}
	}
	i := slices.IndexFunc(e.words, func(w *pendingWord) bool { return !w.claimed && len(of[w.room]) == most })
	e.words[i].settle()
}

// about returns what was said of an event that has come. It is settled when all is
// stored that the event brings about.
func (e *pending) about(room events.RoomID, event events.EventID) (words []*pendingWord) {
	for _, w := range e.words {
		if w.event == event && w.room == room && w.waits() {
			w.claimed = true
			words = append(words, w)
		}
	}
	return words
}

// expire gives up what has waited too long.
func (e *pending) expire(now time.Time) {
	for _, w := range e.words {
		if now.Sub(w.since) < pendingFor {
			break
		}
		if !w.claimed {
			w.settle()
		}
	}
	e.forget()
}

// forget drops what waits no more.
func (e *pending) forget() {
	e.words = slices.DeleteFunc(e.words, func(w *pendingWord) bool { return !w.waits() })
}

// waits says whether the word's event is still to come, or to be stored. If its
// message failed it is said anew when that is matched again.
func (w *pendingWord) waits() bool {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	return !w.settled && !w.f.over
}

// settle says that the word's event is stored, or given up.
func (w *pendingWord) settle() {
	f := w.f
	f.mu.Lock()
	if !w.settled {
		w.settled = true
		f.words--
	}
	over := f.ends()
	f.mu.Unlock()
	if over {
		f.settle(nil)
	}
}

// without leaves out who is not to hear of an event because of what was said
// before it came.
func without(notified []decision, words []*pendingWord, thread events.EventID) []decision {
	if len(words) == 0 {
		return notified
	}
	return slices.DeleteFunc(notified, func(d decision) bool {
		return slices.ContainsFunc(words, func(w *pendingWord) bool {
			return w.redaction || w.receipt.User == d.member.id && (w.receipt.Whole || w.receipt.Thread == thread)
		})
	})
}
