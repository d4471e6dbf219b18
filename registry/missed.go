package registry

import (
	"context"
	"sync"
	"time"

	"poked/events"
	"poked/events/wait"
	"poked/registry/store"
)

const (
	// clockTick is how often the clock is looked at, hangAfter how late a tick is if the
	// process, or its machine, stood still for so long that a reverse proxy gave up.
	clockTick = time.Second
	hangAfter = 4 * time.Second
)

// watchMissed signals, until ctx ends, when clients may have gone past poked to the
// homeserver: after the process stood still, and after the database could not be written.
func (r *recheck) watchMissed(ctx context.Context) error {
	clock, trouble := clockWatch{last: time.Now()}, r.upstream.store.Trouble()
	known := int64(0)
	wait.Every(ctx, clockTick, func(time.Time) {
		hung := clock.hung(time.Now())
		ended := trouble.Ended()
		if hung || ended != known {
			r.log.Warn("poked did not answer for a while, the homeserver is asked what has changed")
			wait.Wake(r.missed)
			r.notices.Add(store.Notice{Kind: store.NoticeMissed})
		}
		known = ended
	})
	return nil
}

// clockWatch notices that the process stood still. It goes by the wall clock, since the
// monotonic clock may stand still with the machine.
type clockWatch struct{ last time.Time }

// hung reports, once in each clockTick, whether it did since the last time.
func (w *clockWatch) hung(now time.Time) bool {
	late := now.Round(0).Sub(w.last.Round(0)) - clockTick
	w.last = now
	return late > hangAfter
}

// settleFor is how long a homeserver may take until a change that it announced is in its
// own answers. A user is refreshed at once and again after that.
const settleFor = 10 * time.Second

// maxSoon bounds how many users wait to be refreshed. Those beyond wait for the round.
const maxSoon = 10_000

// soon are the users whose account data is known to have changed, in order.
type soon struct {
	woken chan struct{}

	mu   sync.Mutex
	list []dueUser // by time
}

type dueUser struct {
	user events.UserID
	at   time.Time
}

func newSoon() *soon { return &soon{woken: make(chan struct{}, 1)} }

// clear forgets all users.
func (s *soon) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
}

// add makes a user due now, and again once the homeserver has settled.
func (s *soon) add(user events.UserID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) >= maxSoon {
		return
	}
	i := 0
	for i < len(s.list) && !s.list[i].at.After(now) {
		if s.list[i].user == user {
			return // it is due already
		}
		i++
	}
	s.list = append(s.list[:i:i], append([]dueUser{{user, now}}, s.list[i:]...)...)
	s.list = append(s.list, dueUser{user, now.Add(settleFor)})
	wait.Wake(s.woken)
}

// next takes a user who is due.
func (s *soon) next(now time.Time) (events.UserID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 || s.list[0].at.After(now) {
		return "", false
	}
	user := s.list[0].user
	s.list = s.list[1:]
	return user, true
}

// until returns how long nobody is due, or most if that is less.
func (s *soon) until(most time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return most
	}
	return max(min(time.Until(s.list[0].at), most), 0)
}
