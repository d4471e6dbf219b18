package deliver

import (
	"testing"
	"time"

	"poked/dispatcher/poke"
)

// Expired pokes were not sent: they do not reset the backoff.
func TestExpiryDoesNotResetTheWaits(t *testing.T) {
	g := lag{position: 1, target: 9, attempts: 7, alone: 7, failure: poke.Because(poke.ClassRefused)}
	g.pass(2, false)
	if g.attempts != 7 || g.alone != 7 || g.position != 2 {
		t.Errorf("after an expiry: %d attempts, position %d", g.attempts, g.position)
	}
	g.pass(3, true)
	if g.attempts != 0 || g.alone != 0 {
		t.Errorf("after a success: %d attempts", g.attempts)
	}
}

// A pause, or a gateway that is down, does not make a pusher's own backoff longer, and a poke
// that was not sent is no attempt.
func TestOnlyOwnFailuresMakeTheWaitLonger(t *testing.T) {
	now := time.Now()
	g := &lag{attempts: 3, alone: 1}
	until := now.Add(time.Hour)
	g.waitFor(poke.Outcome{Kind: poke.Paused, Class: poke.ClassPaused}, until)
	if g.attempts != 3 || !g.nextTry.Equal(until) {
		t.Errorf("after a pause: %d attempts, next try after %v", g.attempts, g.nextTry.Sub(now))
	}
	for range 20 {
		g.waitFor(poke.Outcome{Kind: poke.Retry, Class: poke.ClassHTTP5xx, Status: 502}, until)
	}
	g.putOff(now, poke.Outcome{Kind: poke.Retry, Class: poke.ClassHTTP5xx, Status: 500})
	if g.attempts != 24 || g.nextTry.Sub(now) > 2*poke.QuickFirst {
		t.Errorf("after 2 failures of its own, %d in all: next try after %v", g.attempts, g.nextTry.Sub(now))
	}
}
