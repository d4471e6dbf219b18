package deliver

import (
	"sync"
	"time"

	"poked/dispatcher/poke"
	"poked/events"
)

// attemptLog writes what became of the pokes of a partition to OUTCOMES, for operators. It
// never holds up a delivery: what NATS does not take is lost.
type attemptLog struct {
	d *Deliverer

	mu    sync.Mutex
	lines []byte    // not published yet
	since time.Time // of the first of them
	spare []byte    // a buffer for the next ones
}

const (
	// attemptLogBytes is how many bytes of attempts are published together, before they are
	// compressed.
	attemptLogBytes = 64 << 10
	// attemptLogFor is how long an attempt waits for others at most.
	attemptLogFor = time.Second
)

// note records an attempt.
func (a *attemptLog) note(p *outgoing, out poke.Outcome, took time.Duration) {
	if !a.d.Conn.Traces() || out.Kind == poke.Paused { // of a paused one the gateway's state tells more
		return
	}
	now := time.Now()
	of := events.Attempt{
		At: now, UserID: p.pusher.User, Pusher: p.pusher.ID, AppID: p.pusher.AppID, RoomID: p.room, RoomSeq: p.n.RoomSeq, EventID: p.n.EventID,
		Outcome: out.Kind.String(), Class: out.Class.String(), Status: out.Status, Attempt: p.attempt, Took: took, Ahead: p.ahead,
	}
	a.mu.Lock()
	if len(a.lines) == 0 {
		a.since = now
	}
	a.lines = of.AppendJSON(a.lines)
	full := len(a.lines) >= attemptLogBytes
	a.mu.Unlock()
	if full {
		a.publish()
	}
}

// tick publishes attempts that have waited long enough.
func (a *attemptLog) tick(now time.Time) {
	a.mu.Lock()
	due := len(a.lines) > 0 && now.Sub(a.since) >= attemptLogFor
	a.mu.Unlock()
	if due {
		a.publish()
	}
}

// publish publishes all attempts that wait.
func (a *attemptLog) publish() {
	a.mu.Lock()
	lines := a.lines
	a.lines, a.spare = a.spare[:0], nil
	a.mu.Unlock()
	if len(lines) == 0 {
		return
	}
	a.d.Conn.PublishAttempts(a.d.Part, lines, func(err error) {
		if err != nil {
			a.d.Log.Debug("attempts not stored for operators", "error", err)
		}
	})
	a.mu.Lock()
	a.spare = lines
	a.mu.Unlock()
}
