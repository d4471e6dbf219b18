package registry

import (
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"poked/events"
	"poked/registry/problem"
)

// maxLimiters bounds how many users have a limiter in memory. A user whose limiter is
// evicted starts with a full burst; evicting it takes that many other users with tokens.
const maxLimiters = 10_000

// limiter is a token bucket for each user.
type limiter struct {
	rate  rate.Limit
	burst int
	users *lru.Cache[events.UserID, *rate.Limiter]
}

func newLimiter(perSecond float64, burst int) (*limiter, error) {
	users, err := lru.New[events.UserID, *rate.Limiter](maxLimiters)
	if err != nil {
		return nil, fmt.Errorf("make rate limiter: %w", err)
	}
	return &limiter{rate: rate.Limit(perSecond), burst: burst, users: users}, nil
}

// admit counts one request of a user, or refuses it with a Retry-After. A refused
// request does not count.
func (l *limiter) admit(user events.UserID) error {
	now := time.Now()
	reservation := l.of(user).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	reservation.CancelAt(now)
	return &problem.Error{Kind: problem.LimitExceeded, Message: "too many requests", RetryAfter: wait}
}

func (l *limiter) of(user events.UserID) *rate.Limiter {
	if known, ok := l.users.Get(user); ok {
		return known
	}
	fresh := rate.NewLimiter(l.rate, l.burst)
	if known, ok, _ := l.users.PeekOrAdd(user, fresh); ok {
		return known // another request added it meanwhile
	}
	return fresh
}
